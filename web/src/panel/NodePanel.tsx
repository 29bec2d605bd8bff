import { ActionIcon, Button, Group, Stack, Tabs, Text, TextInput, Tooltip } from "@mantine/core";
import { IconPlayerPlay, IconX } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from "react";
import { useEditor, useShown } from "../canvas/editor";
import { removalOf } from "../canvas/history";
import { NodeIcon } from "../canvas/NodeIcon";
import { usePart } from "../canvas/store";
import type { WorkflowNode } from "../collab";
import { tellError } from "../ui/notify";
import { timeAgo } from "../ui/time";
import { DataTab } from "./DataTab";
import { NodeProvider } from "./NodeContext";
import { useNodeData } from "./nodeData";
import { Parameters } from "./Parameters";
import classes from "./panel.module.css";
import { Settings } from "./Settings";
import { tryNode } from "./trial";

const NO_EDIT = 0;

/** Beside the canvas: everything about the node that is open. */
export function NodePanel() {
  const editor = useEditor();
  const id = usePart(editor.opened, (opened) => opened);
  const node = useShown(({ nodes }) => (id === null ? undefined : nodes.get(id)));
  const frame = useRef<HTMLElement>(null);
  const name = useLastName(id, node);
  useEffect(() => {
    if (id === null) return;
    frame.current?.focus({ preventScroll: true });
    const drawn = requestAnimationFrame(() => editor.viewport?.reveal(id)); // the panel has taken its place from the canvas
    return () => cancelAnimationFrame(drawn);
  }, [editor, id]);
  if (id === null) return null;
  const press = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    event.stopPropagation();
    editor.close();
  };
  return (
    <aside ref={frame} className={classes.panel} tabIndex={-1} aria-label={`Node ${name}`} onKeyDown={press}>
      {node ? <Panel key={id} node={node} /> : <Deleted id={id} name={name} />}
    </aside>
  );
}

/** What the node is called, also when it is gone. */
function useLastName(id: string | null, node: WorkflowNode | undefined): string {
  const last = useRef({ id, name: "" });
  if (node) last.current = { id, name: node.name };
  return (last.current.id === id && last.current.name) || id || "";
}

function Panel({ node }: { node: WorkflowNode }) {
  const editor = useEditor();
  const type = editor.types.get(node.type);
  const data = useNodeData(node.id);
  const mayEdit = useShown(({ role }) => role !== "viewer");
  const [tab, setTab] = useState<string | null>("parameters");
  const trying = useMutation({
    mutationFn: () => tryNode(editor, node.id, data.input === undefined ? {} : { input: data.input }),
    onSuccess: () => setTab("data"),
    onError: tellError,
  });
  const shown = useMemo(() => ({ id: node.id, data, mayEdit }), [node.id, data, mayEdit]);
  return (
    <NodeProvider value={shown}>
      <Group className={classes.head} gap="sm" wrap="nowrap">
        <NodeIcon icon={type?.icon ?? "cube"} category={type?.category ?? ""} />
        <div className={classes.words}>
          <NameField key={node.name} node={node} mayEdit={mayEdit} />
          <Text fz="xs" c="dimmed" truncate>
            {type?.name ?? node.type} · {node.id}
          </Text>
        </div>
        {mayEdit && !type?.entry_point && (
          <Tooltip label={data.input === undefined ? "Run just this node" : "Run just this node, on its last input"}>
            <Button
              size="compact-md"
              variant="light"
              leftSection={<IconPlayerPlay size={15} />}
              loading={trying.isPending}
              onClick={() => trying.mutate()}
            >
              Try
            </Button>
          </Tooltip>
        )}
        <ActionIcon aria-label="Close the panel" onClick={() => editor.close()}>
          <IconX size={18} />
        </ActionIcon>
      </Group>
      <Tabs value={tab} onChange={setTab} className={classes.tabs} keepMounted={false}>
        <Tabs.List px="md">
          <Tabs.Tab value="parameters">Parameters</Tabs.Tab>
          <Tabs.Tab value="data">Data</Tabs.Tab>
          <Tabs.Tab value="settings">Settings</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="parameters" className={classes.content}>
          {type?.description && (
            <Text fz="sm" c="dimmed" mb="md">
              {type.description.replaceAll("`", "")}
            </Text>
          )}
          <Parameters node={node} type={type} />
        </Tabs.Panel>
        <Tabs.Panel value="data" className={classes.content}>
          <DataTab id={node.id} trial={trying.data} />
        </Tabs.Panel>
        <Tabs.Panel value="settings" className={classes.content}>
          <Settings node={node} />
        </Tabs.Panel>
      </Tabs>
    </NodeProvider>
  );
}

function NameField({ node, mayEdit }: { node: WorkflowNode; mayEdit: boolean }) {
  const editor = useEditor();
  const [typed, setTyped] = useState(node.name || node.id);
  const keep = () => {
    const name = typed.trim();
    if (name && name !== node.name)
      editor.edit([{ op: "node.set", id: node.id, path: ["name"], value: name }], "rename");
  };
  return (
    <TextInput
      variant="unstyled"
      size="sm"
      aria-label="Name of the node"
      classNames={{ input: classes.name }}
      maxLength={200}
      readOnly={!mayEdit}
      value={typed}
      onChange={(event) => setTyped(event.currentTarget.value)}
      onBlur={keep}
      onKeyDown={(event) => event.key === "Enter" && keep()}
    />
  );
}

/** The node that one had open is gone: by oneself, or by somebody else. */
function Deleted({ id, name }: { id: string; name: string }) {
  const editor = useEditor();
  const removal = useQuery({
    queryKey: ["history", editor.workflowId, "removal", id],
    queryFn: () => removalOf(editor.workflowId, id),
    staleTime: 0,
  }).data;
  // What this browser saw go is brought back from what it remembers; else the server takes that very edit back.
  const restore = () => {
    editor.draft.restore({ id, seq: removal?.seq ?? NO_EDIT }).catch(tellError);
  };
  return (
    <Stack p="xl" align="center" ta="center" gap="sm">
      <Text fw={600}>“{name}” was deleted</Text>
      <Text fz="sm" c="dimmed">
        {removal && `By ${removal.by.name}, ${timeAgo(removal.at)}. `}It can come back as it was, with its wires.
      </Text>
      <Group>
        <Button variant="default" onClick={() => editor.close()}>
          Close
        </Button>
        <Button onClick={restore}>Restore</Button>
      </Group>
    </Stack>
  );
}
