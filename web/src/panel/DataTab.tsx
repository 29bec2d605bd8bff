import { Alert, Group, Loader, Stack, Text } from "@mantine/core";
import { Link } from "wouter";
import { JsonView } from "../ui/JsonView";
import { isFinal, StatusMark } from "../ui/status";
import { duration, Moment, secondsBetween } from "../ui/time";
import { stepOf, useRecordedRun } from "./nodeData";
import type { Trial } from "./trial";

/** What the node took and gave: in the last run, and when it was last tried by itself. */
export function DataTab({ id, trial }: { id: string; trial: Trial | undefined }) {
  const recorded = useRecordedRun();
  const step = stepOf(recorded.data, id);
  return (
    <Stack gap="lg">
      {trial && <TrialView trial={trial} />}
      {recorded.isPending && <Loader size="sm" aria-label="Loading" />}
      {recorded.data === null && !trial && <Text c="dimmed">The workflow has not run yet.</Text>}
      {recorded.data && !step && <Text c="dimmed">This node had no part in the last run.</Text>}
      {recorded.data && step && (
        <Stack gap="sm">
          <Group justify="space-between">
            <StatusMark status={step.status} />
            <Text fz="xs" c="dimmed">
              {step.started_at && isFinal(step.status) && duration(secondsBetween(step.started_at, step.finished_at))}
              {" · "}
              <Link href={`/runs/${recorded.data.run.id}`}>
                run of <Moment at={recorded.data.run.created_at} span inherit />
              </Link>
            </Text>
          </Group>
          {step.error && <Fault error={step.error} />}
          <Titled title="Output" value={step.output} />
          <Titled title="Input" value={step.input} />
        </Stack>
      )}
    </Stack>
  );
}

function TrialView({ trial }: { trial: Trial }) {
  return (
    <Stack gap="sm">
      <Group justify="space-between">
        <StatusMark status={trial.success ? "completed" : "failed"} />
        <Text fz="xs" c="dimmed">
          tried by itself{trial.duration_ms === null ? "" : ` · ${duration(trial.duration_ms / 1000)}`}
        </Text>
      </Group>
      {trial.error && <Fault error={trial.error} />}
      {trial.success && <Titled title="Output" value={trial.output} />}
      {trial.logs.length > 0 && <Titled title="Logs" value={trial.logs} />}
    </Stack>
  );
}

function Fault({ error }: { error: Record<string, unknown> }) {
  return (
    <Alert color="red" title={String(error.message ?? "It failed")}>
      {typeof error.code === "string" && <code>{error.code}</code>}
    </Alert>
  );
}

function Titled({ title, value }: { title: string; value: unknown }) {
  return (
    <div>
      <Text fz="sm" fw={550} mb={4}>
        {title}
      </Text>
      <JsonView value={value} label={title} maxHeight={320} />
    </div>
  );
}
