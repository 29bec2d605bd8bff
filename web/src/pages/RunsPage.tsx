import { Card, Group, ScrollArea, Select, Skeleton, Table, Text } from "@mantine/core";
import { IconActivity } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useLocation, useSearchParams } from "wouter";
import { api, body } from "../api/client";
import type { Run, RunStatus } from "../api/schema";
import { EmptyState } from "../ui/EmptyState";
import { ErrorNote } from "../ui/ErrorNote";
import { PageLayout } from "../ui/PageLayout";
import { ShowMore } from "../ui/ShowMore";
import { isFinal, StatusMark } from "../ui/status";
import { duration, Moment, secondsBetween, useNow } from "../ui/time";
import { WorkflowSelect } from "../ui/WorkflowSelect";
import { triggerText } from "./runs/triggerText";

const PAGE = 50;
const REFRESH_MS = 5_000;
const STATES: RunStatus[] = ["pending", "running", "sleeping", "waiting", "paused", "completed", "failed", "cancelled"];
const HOUR = 3_600_000;
const SPANS = [
  { value: String(HOUR), label: "Last hour" },
  { value: String(24 * HOUR), label: "Last 24 hours" },
  { value: String(7 * 24 * HOUR), label: "Last 7 days" },
];

/** All runs, newest first; what is looked for stands in the address, so it can be sent to somebody. */
export function RunsPage() {
  const [search, setSearch] = useSearchParams();
  const filter = { status: search.get("status"), workflow: search.get("workflow"), span: search.get("span") };
  const filtered = Object.values(filter).some(Boolean);
  const set = (name: keyof typeof filter) => (value: string | null) =>
    setSearch(
      (before) => {
        const next = new URLSearchParams(before);
        if (value) next.set(name, value);
        else next.delete(name);
        return next;
      },
      { replace: true },
    );
  const list = useInfiniteQuery({
    queryKey: ["runs", filter],
    queryFn: ({ pageParam }) => fetchPage(filter, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    placeholderData: (before) => before,
    refetchInterval: REFRESH_MS,
  });
  const runs = list.data?.pages.flatMap((page) => page.runs) ?? [];
  return (
    <PageLayout title="Runs" subtitle="What has run, runs now, or waits">
      <Group mb="md" gap="sm">
        <Select
          aria-label="State"
          placeholder="Any state"
          clearable
          w={150}
          data={STATES.map((state) => ({ value: state, label: state.charAt(0).toUpperCase() + state.slice(1) }))}
          value={filter.status}
          onChange={set("status")}
        />
        <WorkflowSelect value={filter.workflow} onChange={set("workflow")} />
        <Select
          aria-label="Time"
          placeholder="Any time"
          clearable
          w={160}
          data={SPANS}
          value={filter.span}
          onChange={set("span")}
        />
      </Group>
      <ErrorNote error={list.error} onRetry={() => list.refetch()} />
      {list.isPending && <Skeleton h={320} radius="lg" />}
      {list.isSuccess && runs.length === 0 && (
        <EmptyState
          icon={IconActivity}
          title={filtered ? "No run fits" : "No runs yet"}
          text={filtered ? "Try another state, workflow or time." : "Execute a workflow, or wait for its trigger."}
        />
      )}
      {runs.length > 0 && (
        <Card padding={0}>
          <ScrollArea>
            <Table highlightOnHover miw={760}>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th w={140}>State</Table.Th>
                  <Table.Th>Workflow</Table.Th>
                  <Table.Th w={170}>Started by</Table.Th>
                  <Table.Th w={150}>Begun</Table.Th>
                  <Table.Th w={120} ta="right">
                    Took
                  </Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {runs.map((run) => (
                  <Row key={run.id} run={run} />
                ))}
              </Table.Tbody>
            </Table>
          </ScrollArea>
        </Card>
      )}
      <ShowMore list={list} />
    </PageLayout>
  );
}

interface Filter {
  status: string | null;
  workflow: string | null;
  span: string | null;
}

function fetchPage({ status, workflow, span }: Filter, cursor: string | undefined) {
  const query = {
    limit: PAGE,
    cursor,
    status: (status as RunStatus | null) ?? undefined,
    workflow_id: workflow ?? undefined,
    since: span ? new Date(Date.now() - Number(span)).toISOString() : undefined,
  };
  return body(api.GET("/api/workflow-runs", { params: { query } }));
}

function Row({ run }: { run: Run }) {
  const [, navigate] = useLocation();
  return (
    <Table.Tr style={{ cursor: "pointer" }} onClick={() => navigate(`/runs/${run.id}`)}>
      <Table.Td>
        <StatusMark status={run.status} />
      </Table.Td>
      <Table.Td>
        <Link href={`/runs/${run.id}`} className="quiet-link" onClick={(event) => event.stopPropagation()}>
          <Text span fw={550}>
            {run.workflow_name ?? "Deleted workflow"}
          </Text>
        </Link>
        <Text fz="sm" c={run.error ? "red" : "dimmed"} lineClamp={1}>
          {run.error ? String(run.error.message ?? run.error.code) : versionText(run)}
        </Text>
      </Table.Td>
      <Table.Td>
        <Text fz="sm">{triggerText(run)}</Text>
      </Table.Td>
      <Table.Td>
        <Moment at={run.created_at} fz="sm" />
      </Table.Td>
      <Table.Td ta="right" className="numeric">
        <Text fz="sm">
          <Took run={run} />
        </Text>
      </Table.Td>
    </Table.Tr>
  );
}

function versionText({ version, workflow_id }: Run): string {
  if (version) return `Version ${version}`;
  return workflow_id ? "Draft" : "Unlisted";
}

function Took({ run }: { run: Run }) {
  const now = useNow(!isFinal(run.status));
  return run.started_at ? duration(secondsBetween(run.started_at, run.finished_at, now)) : "–";
}
