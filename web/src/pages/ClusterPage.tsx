import {
  Badge,
  Card,
  Group,
  Progress,
  ScrollArea,
  SimpleGrid,
  Skeleton,
  Stack,
  Table,
  Text,
  Title,
} from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { api, body } from "../api/client";
import type { Cluster } from "../api/schema";
import { ErrorNote } from "../ui/ErrorNote";
import { PageLayout } from "../ui/PageLayout";
import { duration, Moment } from "../ui/time";

const REFRESH_MS = 3_000;

/** The processes that carry all this, and what waits for them. */
export function ClusterPage() {
  const read = useQuery({
    queryKey: ["cluster"],
    queryFn: () => body(api.GET("/api/cluster")),
    refetchInterval: REFRESH_MS,
  });
  return (
    <PageLayout title="Cluster" subtitle="The processes that carry all this, and what waits for them">
      <ErrorNote error={read.error} onRetry={() => read.refetch()} />
      {read.isPending && <Skeleton h={320} radius="lg" />}
      {read.data && (
        <Stack gap="lg">
          <Figures cluster={read.data} />
          <Instances instances={read.data.instances} />
          <Workers workers={read.data.workers} />
        </Stack>
      )}
    </PageLayout>
  );
}

function Figures({ cluster: { instances, workers, queue, schedules } }: { cluster: Cluster }) {
  const busy = workers.reduce((sum, worker) => sum + worker.busy, 0);
  const places = workers.reduce((sum, worker) => sum + worker.concurrency, 0);
  return (
    <SimpleGrid cols={{ base: 2, md: 4 }}>
      <Figure
        name="Instances"
        value={instances.length}
        note={workers.length === 1 ? "one worker" : `${workers.length} workers`}
      />
      <Figure name="Runs under way" value={busy} note={`of ${places.toLocaleString()} places`} />
      <Figure
        name="Waiting runs"
        value={queue.depth}
        note={queue.depth > 0 ? `the oldest for ${duration(queue.oldest_age_seconds)}` : "nothing waits"}
      />
      <Figure name="Schedules" value={schedules.active} note={<Next at={schedules.next_fire_at} />} />
    </SimpleGrid>
  );
}

function Next({ at }: { at: string | null }) {
  return at ? (
    <>
      next <Moment at={at} span />
    </>
  ) : (
    "none is due"
  );
}

function Figure({ name, value, note }: { name: string; value: number; note: ReactNode }) {
  return (
    <Card>
      <Text fz="sm" c="dimmed">
        {name}
      </Text>
      <Text fz={30} fw={650} lts="-0.02em" className="numeric" lh={1.3}>
        {value.toLocaleString()}
      </Text>
      <Text fz="xs" c="dimmed" component="div">
        {note}
      </Text>
    </Card>
  );
}

function Instances({ instances }: { instances: Cluster["instances"] }) {
  return (
    <Section title="Instances">
      <Table miw={640}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Instance</Table.Th>
            <Table.Th w={140}>Role</Table.Th>
            <Table.Th w={110}>Version</Table.Th>
            <Table.Th w={150}>Since</Table.Th>
            <Table.Th w={110}>State</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {instances.map((instance) => (
            <Table.Tr key={instance.id}>
              <Table.Td>
                <Text fz="sm" ff="monospace">
                  {instance.id}
                </Text>
              </Table.Td>
              <Table.Td>{instance.role}</Table.Td>
              <Table.Td>{instance.version}</Table.Td>
              <Table.Td>
                <Moment at={instance.started_at} fz="sm" />
              </Table.Td>
              <Table.Td>
                <State status={instance.status} draining={instance.draining} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Section>
  );
}

function Workers({ workers }: { workers: Cluster["workers"] }) {
  return (
    <Section title="Workers">
      <Table miw={640}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Worker</Table.Th>
            <Table.Th w={220}>Load</Table.Th>
            <Table.Th w={190}>Labels</Table.Th>
            <Table.Th w={150}>Heard of</Table.Th>
            <Table.Th w={110}>State</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {workers.map((worker) => (
            <Table.Tr key={worker.id}>
              <Table.Td>
                <Group gap={8}>
                  <Text fz="sm" ff="monospace">
                    {worker.name || worker.id}
                  </Text>
                  {worker.embedded && <Badge color="gray">in the server</Badge>}
                </Group>
              </Table.Td>
              <Table.Td>
                <Group gap="sm" wrap="nowrap">
                  <Progress
                    value={(100 * worker.busy) / Math.max(1, worker.concurrency)}
                    w={110}
                    aria-label={`${worker.busy} of ${worker.concurrency} places taken`}
                  />
                  <Text fz="sm" className="numeric">
                    {worker.busy} / {worker.concurrency}
                  </Text>
                </Group>
              </Table.Td>
              <Table.Td>
                <Group gap={4}>
                  {worker.labels.map((label) => (
                    <Badge key={label} color="gray">
                      {label}
                    </Badge>
                  ))}
                </Group>
              </Table.Td>
              <Table.Td>
                <Moment at={worker.last_contact_at} fz="sm" />
              </Table.Td>
              <Table.Td>
                <State status={worker.status} draining={worker.draining} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Section>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <Title order={2} fz="md" mb="sm">
        {title}
      </Title>
      <Card padding={0}>
        <ScrollArea>{children}</ScrollArea>
      </Card>
    </section>
  );
}

function State({ status, draining }: { status: string; draining: boolean }) {
  if (draining) return <Badge color="yellow">draining</Badge>;
  return <Badge color={status === "silent" || status === "offline" ? "red" : "teal"}>{status}</Badge>;
}
