import { Badge, Button, Card, Group, Loader, ScrollArea, Skeleton, Table, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconPlus, IconSearch, IconTopologyStar3 } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { api, body } from "../api/client";
import type { Activity, Workflow } from "../api/schema";
import { mayEdit, useMe } from "../app/session";
import { EmptyState } from "../ui/EmptyState";
import { ErrorNote } from "../ui/ErrorNote";
import { PageLayout } from "../ui/PageLayout";
import { RunBars } from "../ui/RunBars";
import { ShowMore } from "../ui/ShowMore";
import { Moment } from "../ui/time";
import { DropZone } from "./workflows/DropZone";
import { ImportButton, useImport } from "./workflows/importing";
import { NewWorkflow } from "./workflows/NewWorkflow";
import { WorkflowMenu } from "./workflows/WorkflowMenu";

const PAGE = 50;
const REFRESH_MS = 10_000;

/** All workflows: what each is, how its last runs went, and when it runs next. */
export function WorkflowsPage() {
  const [typed, setTyped] = useState("");
  const [search] = useDebouncedValue(typed, 200);
  const [creating, setCreating] = useState(false);
  const editor = mayEdit(useMe().data);
  const importing = useImport();
  const list = useInfiniteQuery({
    queryKey: ["workflows", "list", search],
    queryFn: ({ pageParam }) =>
      body(
        api.GET("/api/workflows", { params: { query: { limit: PAGE, activity: true, search, cursor: pageParam } } }),
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    placeholderData: (before) => before,
    refetchInterval: REFRESH_MS,
  });
  const pages = list.data?.pages ?? [];
  const workflows = pages.flatMap((page) => page.workflows);
  const activity: Record<string, Activity> = Object.assign({}, ...pages.map((page) => page.activity));
  const nothing = list.isSuccess && workflows.length === 0;
  const actions = editor && (
    <>
      <ImportButton importing={importing} />
      <Button leftSection={<IconPlus size={18} />} onClick={() => setCreating(true)}>
        New workflow
      </Button>
    </>
  );
  return (
    <PageLayout title="Workflows" subtitle="What runs by itself, and how it went" actions={actions}>
      {editor && <DropZone onFiles={importing.mutate} />}
      {(!nothing || search) && (
        <TextInput
          aria-label="Search workflows"
          placeholder="Search by name or description"
          leftSection={<IconSearch size={16} />}
          rightSection={list.isFetching && typed !== "" ? <Loader size={14} /> : null}
          maw={360}
          mb="md"
          value={typed}
          onChange={(event) => setTyped(event.currentTarget.value)}
        />
      )}
      <ErrorNote error={list.error} onRetry={() => list.refetch()} />
      {list.isPending && <Skeleton h={280} radius="lg" />}
      {nothing && search && <Text c="dimmed">No workflow has “{search}” in its name or description.</Text>}
      {nothing && !search && (
        <EmptyState
          icon={IconTopologyStar3}
          title="No workflows yet"
          text="Build one from nothing, or bring one along: YAML and JSON files can be dropped anywhere on this page."
        >
          {actions}
        </EmptyState>
      )}
      {workflows.length > 0 && (
        <Card padding={0}>
          <ScrollArea>
            <Table highlightOnHover miw={720}>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>Name</Table.Th>
                  <Table.Th w={190}>State</Table.Th>
                  <Table.Th w={130}>Last runs</Table.Th>
                  <Table.Th w={150}>Next</Table.Th>
                  <Table.Th w={56} aria-label="Actions" />
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {workflows.map((workflow) => (
                  <Row key={workflow.id} workflow={workflow} activity={activity[workflow.id]} editor={editor} />
                ))}
              </Table.Tbody>
            </Table>
          </ScrollArea>
        </Card>
      )}
      <ShowMore list={list} />
      {creating && <NewWorkflow onClose={() => setCreating(false)} />}
    </PageLayout>
  );
}

interface RowProps {
  workflow: Workflow;
  activity: Activity | undefined;
  editor: boolean;
}

function Row({ workflow, activity, editor }: RowProps) {
  const [, navigate] = useLocation();
  return (
    <Table.Tr style={{ cursor: "pointer" }} onClick={() => navigate(`/workflows/${workflow.id}`)}>
      <Table.Td>
        <Link href={`/workflows/${workflow.id}`} className="quiet-link" onClick={(event) => event.stopPropagation()}>
          <Text span fw={550}>
            {workflow.name}
          </Text>
        </Link>
        <Text fz="sm" c="dimmed" lineClamp={1}>
          {workflow.description || sizeOf(workflow)}
        </Text>
      </Table.Td>
      <Table.Td>
        <State workflow={workflow} />
      </Table.Td>
      <Table.Td>
        <RunBars runs={activity?.runs ?? []} />
      </Table.Td>
      <Table.Td>
        {activity?.next_fire_at ? (
          <Moment at={activity.next_fire_at} fz="sm" />
        ) : (
          <Text fz="sm" c="dimmed">
            {activity?.armed ? "when called" : "by hand"}
          </Text>
        )}
      </Table.Td>
      <Table.Td onClick={(event) => event.stopPropagation()}>{editor && <WorkflowMenu workflow={workflow} />}</Table.Td>
    </Table.Tr>
  );
}

function sizeOf({ definition: { nodes = [] } }: Workflow): string {
  if (nodes.length === 0) return "Empty";
  return nodes.length === 1 ? "One node" : `${nodes.length} nodes`;
}

function State({ workflow }: { workflow: Workflow }) {
  if (workflow.current_version === null) return <Badge color="gray">Draft</Badge>;
  return (
    <Group gap={6}>
      <Badge color="teal">Live · v{workflow.current_version}</Badge>
      {workflow.has_changes && <Badge color="yellow">Changed</Badge>}
    </Group>
  );
}
