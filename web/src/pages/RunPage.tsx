import { Alert, Anchor, Card, Group, SimpleGrid, Skeleton, Stack, Text } from "@mantine/core";
import { IconAlertTriangle, IconClockPause } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { Link } from "wouter";
import { api, body } from "../api/client";
import type { Run } from "../api/schema";
import { queries } from "../app/queries";
import { mayEdit, useMe } from "../app/session";
import { useLiveRun } from "../runs/useLiveRun";
import { useStepNames } from "../runs/useStepNames";
import { ErrorNote } from "../ui/ErrorNote";
import { JsonView } from "../ui/JsonView";
import { PageLayout } from "../ui/PageLayout";
import { isFinal, StatusMark } from "../ui/status";
import { duration, Moment, secondsBetween, useNow } from "../ui/time";
import { RunActions } from "./runs/RunActions";
import classes from "./runs/runs.module.css";
import { StepPanel } from "./runs/StepPanel";
import { Timeline } from "./runs/Timeline";
import { triggerText } from "./runs/triggerText";
import { waitText } from "./runs/waitText";

/** One run, as it happens: what it is, its steps on a time line, and what each of them took and gave. */
export function RunPage({ id }: { id: string }) {
  const read = useQuery({
    queryKey: ["run", id],
    queryFn: () => body(api.GET("/api/workflow-runs/{id}", { params: { path: { id } } })),
  });
  const live = useLiveRun(read.data ? id : null);
  const status = live.run?.status;
  useEffect(() => {
    if (status) void queries.invalidateQueries({ queryKey: ["run", id], exact: true });
  }, [id, status]);
  const names = useStepNames(id);
  const [chosen, setChosen] = useState<string | null>(null);
  const editor = mayEdit(useMe().data);
  if (read.isPending) return <Waiting />;
  if (read.error) {
    return (
      <PageLayout title="Run">
        <ErrorNote error={read.error} onRetry={() => read.refetch()} />
      </PageLayout>
    );
  }
  const run = together(read.data, live.run);
  const steps = [...live.steps.values()];
  const step = live.steps.get(chosen ?? "") ?? steps.find(({ status }) => status === "failed") ?? steps[0];
  return (
    <PageLayout
      title={run.workflow_name ?? "Deleted workflow"}
      subtitle={`Run ${run.id}`}
      actions={editor && <RunActions run={run} steps={steps} />}
    >
      <Stack gap="lg">
        <Facts run={run} />
        <ErrorNote error={live.error} />
        {run.error && run.error.message !== step?.error?.message && (
          <Alert
            color="red"
            icon={<IconAlertTriangle size={18} />}
            title={String(run.error.message ?? "The run failed")}
          >
            {typeof run.error.code === "string" && <code>{run.error.code}</code>}
          </Alert>
        )}
        {run.waiting_for && !isFinal(run.status) && (
          <Alert color="yellow" icon={<IconClockPause size={18} />} title={waitText(run.waiting_for)}>
            {typeof run.waiting_for.resume_url === "string" && (
              <Anchor href={run.waiting_for.resume_url} target="_blank" rel="noreferrer" fz="sm">
                Open the form that answers it
              </Anchor>
            )}
          </Alert>
        )}
        <div className={classes.columns}>
          <Card padding={0}>
            <Timeline run={run} steps={steps} names={names} chosen={step?.step_key} onChoose={setChosen} />
          </Card>
          <Card className={classes.panel}>
            {step ? (
              <StepPanel
                key={step.step_key}
                run={run}
                step={step}
                names={names}
                logs={live.logs}
                text={live.texts.get(step.step_key)}
              />
            ) : (
              <Text c="dimmed">A step shows here when it has begun.</Text>
            )}
          </Card>
        </div>
        <SimpleGrid cols={{ base: 1, md: 2 }}>
          <Value title="Input" value={run.input} />
          <Value title="Output" value={run.output} missing={isFinal(run.status) ? "None" : "Not there yet"} />
        </SimpleGrid>
      </Stack>
    </PageLayout>
  );
}

/** Events are newer, but say neither the input nor the links of what is waited for. */
function together(read: Run, live: Run | null): Run {
  const waiting_for = live?.status === read.status ? read.waiting_for : (live ?? read).waiting_for;
  return { ...read, ...live, input: read.input, waiting_for };
}

function Facts({ run }: { run: Run }) {
  const now = useNow(!isFinal(run.status), 500);
  return (
    <Card>
      <Group style={{ gap: "16px 44px" }}>
        <Fact name="State">
          <StatusMark status={run.status} />
        </Fact>
        <Fact name="Begun">
          <Moment at={run.created_at} fz="sm" />
        </Fact>
        <Fact name="Took">
          <span className="numeric">
            {run.started_at ? duration(secondsBetween(run.started_at, run.finished_at, now)) : "–"}
          </span>
        </Fact>
        <Fact name="Started by">{triggerText(run)}</Fact>
        <Fact name="Version">{run.version ?? (run.workflow_id ? "draft" : "unlisted")}</Fact>
        {run.attempt > 1 && <Fact name="Attempt">{run.attempt}</Fact>}
        {run.worker_id && <Fact name="Worker">{run.worker_id}</Fact>}
        {run.retry_of && <Related name="Retry of" id={run.retry_of} />}
        {run.parent_run_id && <Related name="Called by" id={run.parent_run_id} />}
        {run.workflow_id && (
          <Fact name="Workflow">
            <Anchor component={Link} href={`/workflows/${run.workflow_id}`} fz="sm">
              Open on the canvas
            </Anchor>
          </Fact>
        )}
      </Group>
    </Card>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <Text fz="xs" c="dimmed" mb={2}>
        {name}
      </Text>
      <Text fz="sm" component="div">
        {children}
      </Text>
    </div>
  );
}

function Related({ name, id }: { name: string; id: string }) {
  return (
    <Fact name={name}>
      <Anchor component={Link} href={`/runs/${id}`} fz="sm">
        another run
      </Anchor>
    </Fact>
  );
}

function Value({ title, value, missing = "None" }: { title: string; value: unknown; missing?: string }) {
  return (
    <Card>
      <Text fw={600} fz="sm" mb="xs">
        {title}
      </Text>
      {value === null || value === undefined ? (
        <Text fz="sm" c="dimmed">
          {missing}
        </Text>
      ) : (
        <JsonView value={value} label={`${title} of the run`} maxHeight={260} />
      )}
    </Card>
  );
}

function Waiting() {
  return (
    <PageLayout title="Run">
      <Skeleton h={90} radius="lg" mb="lg" />
      <Skeleton h={320} radius="lg" />
    </PageLayout>
  );
}
