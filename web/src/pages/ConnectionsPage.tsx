import { Badge, Button, Card, Group, ScrollArea, Skeleton, Table, Text } from "@mantine/core";
import { IconPlug, IconPlus } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "../api/client";
import type { Connection } from "../api/schema";
import { mayEdit, useMe } from "../app/session";
import { ConnectionDrawer, useCredentialTypes } from "../connections/ConnectionDrawer";
import { TypeMark } from "../connections/TypeChoice";
import { EmptyState } from "../ui/EmptyState";
import { ErrorNote } from "../ui/ErrorNote";
import { PageLayout } from "../ui/PageLayout";
import { ShowMore } from "../ui/ShowMore";
import { Moment } from "../ui/time";
import { ConnectionMenu } from "./connections/ConnectionMenu";

const PAGE = 50;

/** The services that workflows reach, with what they need to get in. */
export function ConnectionsPage() {
  const [open, setOpen] = useState<Connection | "new" | null>(null);
  const editor = mayEdit(useMe().data);
  const names = new Map(useCredentialTypes().data?.map(({ id, name }) => [id, name]));
  const list = useInfiniteQuery({
    queryKey: ["connections", "list"],
    queryFn: ({ pageParam }) =>
      body(api.GET("/api/connections", { params: { query: { limit: PAGE, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
  });
  const connections = list.data?.pages.flatMap((page) => page.connections) ?? [];
  const add = editor && (
    <Button leftSection={<IconPlus size={18} />} onClick={() => setOpen("new")}>
      New connection
    </Button>
  );
  return (
    <PageLayout title="Connections" subtitle="What workflows reach, and the secrets that let them in" actions={add}>
      <ErrorNote error={list.error} onRetry={() => list.refetch()} />
      {list.isPending && <Skeleton h={240} radius="lg" />}
      {list.isSuccess && connections.length === 0 && (
        <EmptyState
          icon={IconPlug}
          title="No connections yet"
          text="A connection keeps a key or a password, encrypted. Nodes use it by name, and nobody ever sees it again."
        >
          {add}
        </EmptyState>
      )}
      {connections.length > 0 && (
        <Card padding={0}>
          <ScrollArea>
            <Table highlightOnHover miw={640}>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>Name</Table.Th>
                  <Table.Th w={220}>Type</Table.Th>
                  <Table.Th w={170}>Changed</Table.Th>
                  <Table.Th w={56} aria-label="Actions" />
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {connections.map((connection) => (
                  <Table.Tr key={connection.id}>
                    <Table.Td>
                      <Group gap="md" wrap="nowrap">
                        <TypeMark name={names.get(connection.credential_type) ?? connection.credential_type} />
                        <div>
                          <Text fw={550}>{connection.name}</Text>
                          <Text fz="xs" c="dimmed">
                            by {connection.created_by}
                          </Text>
                        </div>
                        {connection.authorized === false && <Badge color="yellow">Not signed in</Badge>}
                      </Group>
                    </Table.Td>
                    <Table.Td>
                      <Text fz="sm">{names.get(connection.credential_type) ?? connection.credential_type}</Text>
                    </Table.Td>
                    <Table.Td>
                      <Moment at={connection.updated_at} fz="sm" />
                    </Table.Td>
                    <Table.Td>
                      <ConnectionMenu connection={connection} editor={editor} onEdit={() => setOpen(connection)} />
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </ScrollArea>
        </Card>
      )}
      <ShowMore list={list} />
      {open && <ConnectionDrawer connection={open === "new" ? undefined : open} onClose={() => setOpen(null)} />}
    </PageLayout>
  );
}
