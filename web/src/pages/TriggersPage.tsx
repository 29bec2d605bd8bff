import {
  ActionIcon,
  Anchor,
  Badge,
  Card,
  Code,
  CopyButton,
  Group,
  ScrollArea,
  Skeleton,
  Switch,
  Table,
  Text,
  Tooltip,
} from "@mantine/core";
import { IconBolt, IconCheck, IconCopy } from "@tabler/icons-react";
import { useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { Link } from "wouter";
import { api, body } from "../api/client";
import type { Trigger } from "../api/schema";
import { queries } from "../app/queries";
import { mayEdit, useMe } from "../app/session";
import { EmptyState } from "../ui/EmptyState";
import { ErrorNote } from "../ui/ErrorNote";
import { tellError } from "../ui/notify";
import { PageLayout } from "../ui/PageLayout";
import { ShowMore } from "../ui/ShowMore";
import { Moment } from "../ui/time";

const PAGE = 50;
const REFRESH_MS = 15_000;

/** What starts workflows by itself: schedules and webhooks, each of which can be paused. */
export function TriggersPage() {
  const editor = mayEdit(useMe().data);
  const list = useInfiniteQuery({
    queryKey: ["triggers"],
    queryFn: ({ pageParam }) =>
      body(api.GET("/api/triggers", { params: { query: { limit: PAGE, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    refetchInterval: REFRESH_MS,
  });
  const triggers = list.data?.pages.flatMap((page) => page.triggers) ?? [];
  return (
    <PageLayout title="Triggers" subtitle="What starts workflows by itself">
      <ErrorNote error={list.error} onRetry={() => list.refetch()} />
      {list.isPending && <Skeleton h={240} radius="lg" />}
      {list.isSuccess && triggers.length === 0 && (
        <EmptyState
          icon={IconBolt}
          title="No triggers yet"
          text="Put a schedule or a webhook on a workflow's canvas and deploy it; it shows here."
        />
      )}
      {triggers.length > 0 && (
        <Card padding={0}>
          <ScrollArea>
            <Table miw={820}>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th w={240}>Trigger</Table.Th>
                  <Table.Th>When</Table.Th>
                  <Table.Th w={150}>Next</Table.Th>
                  <Table.Th w={150}>Last</Table.Th>
                  <Table.Th w={90}>On</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {triggers.map((trigger) => (
                  <Row key={trigger.id} trigger={trigger} editor={editor} />
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

function Row({ trigger, editor }: { trigger: Trigger; editor: boolean }) {
  const pausing = useMutation({
    mutationFn: (enabled: boolean) =>
      body(api.PUT("/api/triggers/{id}", { params: { path: { id: trigger.id } }, body: { enabled } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["triggers"] }),
    onError: tellError,
  });
  const enabled = pausing.isPending ? pausing.variables : trigger.enabled;
  return (
    <Table.Tr>
      <Table.Td>
        <Group gap={8} wrap="nowrap">
          <Text fw={550} truncate>
            {trigger.name || trigger.node_id}
          </Text>
          <Badge color="gray" style={{ flex: "none" }}>
            {trigger.type}
          </Badge>
        </Group>
        <Anchor component={Link} href={`/workflows/${trigger.workflow_id}`} fz="sm" c="dimmed">
          {trigger.workflow_name}
        </Anchor>
      </Table.Td>
      <Table.Td>
        <When trigger={trigger} />
      </Table.Td>
      <Table.Td>
        <Moment at={trigger.enabled ? trigger.next_fire_at : null} fz="sm" />
      </Table.Td>
      <Table.Td>
        <Moment at={trigger.last_fired_at} fz="sm" />
      </Table.Td>
      <Table.Td>
        <Switch
          aria-label={`${trigger.name || trigger.node_id} is on`}
          checked={enabled}
          disabled={!editor}
          onChange={(event) => pausing.mutate(event.currentTarget.checked)}
        />
      </Table.Td>
    </Table.Tr>
  );
}

function When({ trigger: { webhook_url, config, type } }: { trigger: Trigger }) {
  if (webhook_url) return <Address url={webhook_url} method={String(config.method ?? "POST")} />;
  if (typeof config.cron !== "string") {
    return (
      <Text fz="sm" c="dimmed">
        {type === "webhook" ? "when called" : JSON.stringify(config)}
      </Text>
    );
  }
  return (
    <Text fz="sm">
      <Code>{config.cron}</Code> {String(config.timezone ?? "UTC")}
    </Text>
  );
}

function Address({ url, method }: { url: string; method: string }) {
  return (
    <Group gap={6} wrap="nowrap">
      <Badge variant="outline" color="gray" style={{ flex: "none" }}>
        {method}
      </Badge>
      <Text fz="xs" ff="monospace" truncate maw={300}>
        {url}
      </Text>
      <CopyButton value={url}>
        {({ copied, copy }) => (
          <Tooltip label={copied ? "Copied" : "Copy the address"}>
            <ActionIcon onClick={copy} size="sm" aria-label="Copy the address">
              {copied ? <IconCheck size={14} /> : <IconCopy size={14} />}
            </ActionIcon>
          </Tooltip>
        )}
      </CopyButton>
    </Group>
  );
}
