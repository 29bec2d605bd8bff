import { Badge, Button, Card, Drawer, Group, Loader, Menu, Stack, Text, TextInput } from "@mantine/core";
import { IconChevronDown, IconFileImport, IconRocket } from "@tabler/icons-react";
import { useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, body } from "../api/client";
import { queries } from "../app/queries";
import type { SentDefinition } from "../collab";
import { ErrorNote } from "../ui/ErrorNote";
import { tell, tellError } from "../ui/notify";
import { Moment } from "../ui/time";
import { useEditor, useShown } from "./editor";
import { savedRevision } from "./running";

type Version = Awaited<ReturnType<typeof readVersions>>["versions"][number];

async function readVersions(id: string, cursor: number | null) {
  const query = { limit: 20, ...(cursor === null ? {} : { cursor }) };
  return body(api.GET("/api/workflows/{id}/versions", { params: { path: { id }, query } }));
}

/** Versions: deploy the draft as a new one, go back to an older one, or take one up as the draft. */
export function VersionsDrawer({ onClose }: { onClose: () => void }) {
  const editor = useEditor();
  const id = editor.workflowId;
  const mayEdit = useShown(({ role }) => role !== "viewer");
  const read = useInfiniteQuery({
    queryKey: ["versions", id],
    queryFn: ({ pageParam }) => readVersions(id, pageParam),
    initialPageParam: null as number | null,
    getNextPageParam: ({ next_cursor }) => next_cursor,
  });
  const deploy = useMutation({
    mutationFn: (number: number) =>
      body(api.POST("/api/workflows/{id}/versions/{n}/deploy", { params: { path: { id, n: String(number) } } })),
    onSuccess: ({ version_number }) => {
      refresh(id);
      tell(`Version ${version_number} is deployed.`);
    },
    onError: tellError,
  });
  const takeUp = ({ definition, version_number }: Version) => {
    const sent = definition as unknown as SentDefinition;
    if (editor.edit([{ op: "draft.replace", definition: sent }], "take up a version")) {
      tell(`The draft is as version ${version_number}. Undo brings yours back.`);
    }
  };
  const versions = read.data?.pages.flatMap((page) => page.versions) ?? [];
  return (
    <Drawer opened onClose={onClose} size={440} title={<Text fw={650}>Versions</Text>} returnFocus={false}>
      <Stack>
        {mayEdit && <DeployDraft next={(versions[0]?.version_number ?? 0) + 1} />}
        <ErrorNote error={read.error} onRetry={() => read.refetch()} />
        {read.isPending && <Loader aria-label="Loading" />}
        {versions.map((version) => (
          <Group key={version.id} justify="space-between" wrap="nowrap" gap="sm">
            <div style={{ minWidth: 0 }}>
              <Group gap={8} wrap="nowrap">
                <Text fz="sm" fw={550} truncate>
                  {version.version_number} · {version.name}
                </Text>
                {version.is_current && <Badge color="teal">deployed</Badge>}
              </Group>
              <Text fz="xs" c="dimmed">
                {version.created_by} · <Moment at={version.created_at} span inherit />
              </Text>
            </div>
            {mayEdit && (
              <Menu position="bottom-end" shadow="md">
                <Menu.Target>
                  <Button
                    size="compact-sm"
                    variant="default"
                    rightSection={<IconChevronDown size={14} />}
                    aria-label={`Use version ${version.version_number}`}
                  >
                    Use
                  </Button>
                </Menu.Target>
                <Menu.Dropdown>
                  <Menu.Item
                    leftSection={<IconRocket size={16} />}
                    disabled={version.is_current}
                    onClick={() => deploy.mutate(version.version_number)}
                  >
                    Deploy it
                  </Menu.Item>
                  <Menu.Item leftSection={<IconFileImport size={16} />} onClick={() => takeUp(version)}>
                    Take it up as the draft
                  </Menu.Item>
                </Menu.Dropdown>
              </Menu>
            )}
          </Group>
        ))}
        {read.hasNextPage && (
          <Button variant="default" loading={read.isFetchingNextPage} onClick={() => read.fetchNextPage()}>
            Older versions
          </Button>
        )}
      </Stack>
    </Drawer>
  );
}

function refresh(workflowId: string): void {
  void queries.invalidateQueries({ queryKey: ["versions", workflowId] });
  void queries.invalidateQueries({ queryKey: ["workflows"] });
}

/** Makes a version of the draft as it is seen here, and deploys it. */
function DeployDraft({ next }: { next: number }) {
  const editor = useEditor();
  const id = editor.workflowId;
  const [name, setName] = useState("");
  const deploying = useMutation({
    mutationFn: async () => {
      const min_revision = await savedRevision(editor);
      const params = { path: { id } };
      const wanted = { name: name.trim() || `Version ${next}`, description: "", min_revision };
      const made = await body(api.POST("/api/workflows/{id}/versions", { params, body: wanted }));
      const n = String(made.version_number);
      return body(api.POST("/api/workflows/{id}/versions/{n}/deploy", { params: { path: { id, n } } }));
    },
    onSuccess: ({ version_number }) => {
      setName("");
      tell(`Version ${version_number} is deployed.`);
    },
    onSettled: () => refresh(id),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    deploying.mutate();
  };
  return (
    <Card padding="md">
      <form onSubmit={submit}>
        <Stack gap="sm">
          <TextInput
            label="Deploy the draft"
            description="From then on its triggers start this version"
            placeholder={`Version ${next}`}
            maxLength={200}
            data-autofocus
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <ErrorNote error={deploying.error} />
          <Button type="submit" leftSection={<IconRocket size={16} />} loading={deploying.isPending}>
            Deploy
          </Button>
        </Stack>
      </form>
    </Card>
  );
}
