import { Alert, Group, Skeleton, Stack, Tabs, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { api, body } from "../../api/client";
import type { Run } from "../../api/schema";
import type { LogLine, StepNews } from "../../runs/liveRun";
import type { StepNames } from "../../runs/useStepNames";
import { ErrorNote } from "../../ui/ErrorNote";
import { JsonView } from "../../ui/JsonView";
import { StatusMark } from "../../ui/status";
import { duration, secondsBetween } from "../../ui/time";
import { LogLines } from "./LogLines";

interface Props {
  run: Run;
  step: StepNews;
  names: StepNames;
  logs: readonly LogLine[];
  /** What the step is writing right now. */
  text: string | undefined;
}

/** One step: what it was given, what it gave, what it said, and what went wrong. */
export function StepPanel({ run, step, names, logs, text }: Props) {
  const name = names.of(step);
  const whole = useQuery({
    queryKey: ["run", run.id, "step", step.step_key, step.seq],
    queryFn: () => fetchStep(run.id, step),
    placeholderData: (before) => before,
  });
  const lines = logs.filter((line) => line.step_key === step.step_key);
  const writing = text && step.status === "running";
  return (
    <Stack gap="md">
      <Group justify="space-between" wrap="nowrap">
        <div style={{ minWidth: 0 }}>
          <Text fw={650} truncate>
            {name}
          </Text>
          <Text fz="xs" c="dimmed">
            {names.ofType(step)}
            {step.attempt > 1 && ` · attempt ${step.attempt}`}
            {step.started_at && step.finished_at && ` · ${duration(secondsBetween(step.started_at, step.finished_at))}`}
            {step.handle && step.handle !== "out" && ` · took “${step.handle}”`}
          </Text>
        </div>
        <StatusMark status={step.status} />
      </Group>
      {step.error && (
        <Alert color="red" title={String(step.error.message ?? "The step failed")}>
          {typeof step.error.code === "string" && <code>{step.error.code}</code>}
        </Alert>
      )}
      <ErrorNote error={whole.error} onRetry={() => whole.refetch()} />
      <Tabs defaultValue={step.status === "failed" ? "input" : "output"} keepMounted={false}>
        <Tabs.List mb="sm">
          <Tabs.Tab value="input">Input</Tabs.Tab>
          <Tabs.Tab value="output">Output</Tabs.Tab>
          <Tabs.Tab value="logs">Logs{lines.length > 0 && ` · ${lines.length}`}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="input">
          <Value value={whole.data?.input} label={`Input of ${name}`} loading={whole.isPending} />
        </Tabs.Panel>
        <Tabs.Panel value="output">
          {writing ? (
            <JsonView value={`${text}\n`} label={`What ${name} is writing`} />
          ) : (
            <Value value={whole.data?.output} label={`Output of ${name}`} loading={whole.isPending} />
          )}
        </Tabs.Panel>
        <Tabs.Panel value="logs">
          <LogLines lines={lines} />
        </Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

/** A step is found by the place in the journal that is before its own. */
async function fetchStep(runId: string, { step_key, seq }: StepNews) {
  const params = { path: { id: runId }, query: { cursor: seq - 1, limit: 1 } };
  const { steps } = await body(api.GET("/api/workflow-runs/{id}/steps", { params }));
  return steps.find((step) => step.step_key === step_key) ?? null;
}

function Value({ value, label, loading }: { value: unknown; label: string; loading: boolean }) {
  if (loading) return <Skeleton h={120} />;
  if (value === undefined || value === null) {
    return (
      <Text fz="sm" c="dimmed">
        None
      </Text>
    );
  }
  return <JsonView value={value} label={label} />;
}
