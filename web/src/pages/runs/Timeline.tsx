import { Text, Tooltip, UnstyledButton, VisuallyHidden } from "@mantine/core";
import type { Run } from "../../api/schema";
import type { StepNews } from "../../runs/liveRun";
import type { StepNames } from "../../runs/useStepNames";
import { isFinal, statusClasses } from "../../ui/status";
import { duration, secondsBetween, useNow } from "../../ui/time";
import classes from "./runs.module.css";

interface Props {
  run: Run;
  steps: StepNews[];
  names: StepNames;
  chosen: string | undefined;
  onChoose: (stepKey: string) => void;
}

/** The steps below each other, each with a bar from its beginning to its end. */
export function Timeline({ run, steps, names, chosen, onChoose }: Props) {
  const now = useNow(!isFinal(run.status), 250);
  const begin = Date.parse(run.started_at ?? run.created_at);
  const end = run.finished_at ? Date.parse(run.finished_at) : now;
  const span = Math.max(1, end - begin);
  if (steps.length === 0) {
    return (
      <Text c="dimmed" p="lg">
        {isFinal(run.status) ? "No step was recorded." : "No step has begun yet."}
      </Text>
    );
  }
  return (
    <section aria-label="Steps" className={classes.steps}>
      {steps.map((step) => (
        <UnstyledButton
          key={step.step_key}
          className={classes.step}
          aria-pressed={step.step_key === chosen}
          onClick={() => onChoose(step.step_key)}
        >
          <span className={statusClasses.dot} data-status={step.status}>
            <VisuallyHidden>{step.status}</VisuallyHidden>
          </span>
          <span className={classes.name}>
            <Text span fz="sm" fw={550} truncate>
              {names.of(step)}
            </Text>
            <Text span fz="xs" c="dimmed" truncate>
              {names.ofType(step)}
              {step.attempt > 1 && ` · attempt ${step.attempt}`}
            </Text>
          </span>
          <span className={classes.track}>
            {step.started_at && (
              <Tooltip label={`${step.status}, ${took(step, now)}`}>
                <span
                  className={`${statusClasses.bar} ${classes.bar}`}
                  data-status={step.status}
                  style={place(step, begin, span, now)}
                />
              </Tooltip>
            )}
          </span>
          <Text span fz="xs" c="dimmed" className="numeric" ta="right">
            {step.started_at ? took(step, now) : "–"}
          </Text>
        </UnstyledButton>
      ))}
    </section>
  );
}

function took(step: StepNews, now: number): string {
  return step.started_at ? duration(secondsBetween(step.started_at, step.finished_at, now)) : "";
}

function place(step: StepNews, begin: number, span: number, now: number) {
  const from = Date.parse(step.started_at ?? "");
  const to = step.finished_at ? Date.parse(step.finished_at) : now;
  const percent = (milliseconds: number) => Math.min(100, Math.max(0, (100 * milliseconds) / span));
  return { left: `${Math.min(99, percent(from - begin))}%`, width: `${Math.max(1, percent(to - from))}%` };
}
