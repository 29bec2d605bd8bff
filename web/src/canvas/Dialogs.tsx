import { Button, Group, Kbd, Modal, SimpleGrid, Stack, Text } from "@mantine/core";
import { useMemo } from "react";
import type { NodeType } from "../api/schema";
import { timeAgo } from "../ui/time";
import { commands } from "./commands";
import { type Dialog, type Editor, useEditor } from "./editor";
import { obstacle, type Wire } from "./edits";
import { HistoryDrawer } from "./HistoryDrawer";
import { inputsOf, outputsOf } from "./handles";
import { NodeIcon } from "./NodeIcon";
import { Picker } from "./Picker";
import { RunWithInput } from "./RunWithInput";
import type { Choice } from "./search";
import { COMMANDS, type Command, keyLabel, MORE_KEYS } from "./shortcuts";
import { usePart } from "./store";
import { VersionsDrawer } from "./VersionsDrawer";

/** What is asked above the canvas, one thing at a time. Closing gives the keys back to the canvas. */
export function Dialogs() {
  const editor = useEditor();
  const dialog = usePart(editor.dialog, (asked) => asked);
  if (!dialog) return null;
  const close = () => {
    editor.dialog.set(null);
    editor.viewport?.focus();
  };
  switch (dialog.kind) {
    case "palette":
      return <Palette dialog={dialog} onClose={close} />;
    case "connect":
      return <ConnectTo from={dialog.from} onClose={close} />;
    case "commands":
      return <CommandPalette onClose={close} />;
    case "help":
      return <Help onClose={close} />;
    case "undo":
      return <UndoQuestion dialog={dialog} onClose={close} />;
    case "execute":
      return <RunWithInput onClose={close} />;
    case "history":
      return <HistoryDrawer onClose={close} />;
    case "versions":
      return <VersionsDrawer onClose={close} />;
  }
}

type Asked<K extends Dialog["kind"]> = Extract<Dialog, { kind: K }>;

const FIRST = ["Triggers", "Integrations", "AI", "Control", "Data"];

function Palette({ dialog, onClose }: { dialog: Asked<"palette">; onClose: () => void }) {
  const editor = useEditor();
  const choices = useMemo(() => paletteChoices(editor, dialog), [editor, dialog]);
  return (
    <Picker
      label="Add a node"
      placeholder="What should happen? Search nodes"
      choices={choices}
      icon={({ key }) => <TypeIcon type={editor.types.get(key)} />}
      onChoose={(key) => {
        const type = editor.types.get(key);
        if (type) editor.add(type, dialog);
      }}
      onClose={onClose}
    />
  );
}

/** All types that can stand there; triggers first while there is none. */
function paletteChoices(editor: Editor, { end, into }: Asked<"palette">): Choice[] {
  const fits = (type: NodeType) => {
    const takes = type.inputs.length > 0;
    if (into !== undefined) return takes && type.outputs.length > 0;
    if (end?.side === "source") return takes;
    return end?.side === "target" ? type.outputs.length > 0 : true;
  };
  const started = [...editor.nodes.values()].some(({ type }) => editor.types.get(type)?.entry_point);
  const order = (category: string) => {
    const place = FIRST.indexOf(category);
    if (category === "Triggers") return started ? FIRST.length + 1 : -1;
    return place < 0 ? FIRST.length : place;
  };
  return [...editor.types.values()]
    .filter(fits)
    .sort((a, b) => order(a.category) - order(b.category) || a.category.localeCompare(b.category))
    .map(({ id, name, description, category }) => ({
      key: id,
      title: name,
      detail: description,
      aside: category,
      words: id,
    }));
}

function TypeIcon({ type }: { type: NodeType | undefined }) {
  return <NodeIcon icon={type?.icon ?? "cube"} category={type?.category ?? ""} size={32} />;
}

function ConnectTo({ from, onClose }: { from: string; onClose: () => void }) {
  const editor = useEditor();
  const wires = useMemo(() => wiresFrom(editor, from), [editor, from]);
  const choices = [...wires].map(([key, wire]): Choice => {
    const several = new Set([...wires.values()].map(({ source_handle }) => source_handle)).size > 1;
    return {
      key,
      title: editor.nameOf(wire.target),
      detail: wire.target,
      aside: several ? `from ${wire.source_handle}` : undefined,
    };
  });
  return (
    <Picker
      label={`Connect ${editor.nameOf(from)} to`}
      placeholder={`Connect “${editor.nameOf(from)}” to …`}
      choices={choices}
      icon={({ key }) => (
        <TypeIcon type={editor.types.get(editor.nodes.get(wires.get(key)?.target ?? "")?.type ?? "")} />
      )}
      onChoose={(key) => {
        const wire = wires.get(key);
        if (wire) editor.connect(wire);
      }}
      onClose={onClose}
    />
  );
}

/** All that a node can be connected to. */
function wiresFrom(editor: Editor, from: string): ReadonlyMap<string, Wire> {
  const node = editor.nodes.get(from);
  const wires = new Map<string, Wire>();
  for (const source_handle of node ? outputsOf(editor.types.get(node.type), node) : []) {
    for (const { id, type } of editor.nodes.values()) {
      const [target_handle] = inputsOf(editor.types.get(type));
      if (target_handle === undefined) continue;
      const wire = { source: from, source_handle, target: id, target_handle };
      if (obstacle(editor.edges, wire) === null) wires.set(`${source_handle} ${id}`, wire);
    }
  }
  return wires;
}

function CommandPalette({ onClose }: { onClose: () => void }) {
  const editor = useEditor();
  const choices = useMemo(
    () => [
      ...Object.entries(COMMANDS).map(
        ([key, { title, keys }]): Choice => ({ key: `do ${key}`, title, aside: keyLabel(keys[0]).join(" ") }),
      ),
      { key: "open history", title: "History of the draft" },
      { key: "open versions", title: "Versions" },
      { key: "open execute", title: "Run with input …" },
      ...Array.from(
        editor.nodes.values(),
        ({ id, name, type }): Choice => ({
          key: `node ${id}`,
          title: name || id,
          detail: editor.types.get(type)?.name ?? type,
          aside: "Go to",
          words: id,
        }),
      ),
    ],
    [editor],
  );
  const choose = (key: string) => {
    const [what, ...rest] = key.split(" ");
    const name = rest.join(" ");
    if (what === "node") editor.show(name);
    else if (what === "open") editor.dialog.set({ kind: name as "history" | "versions" | "execute" });
    else if (name in commands) commands[name as Command](editor);
  };
  return (
    <Picker
      label="Commands"
      placeholder="What to do, or where to go?"
      choices={choices}
      onChoose={choose}
      onClose={onClose}
    />
  );
}

function Help({ onClose }: { onClose: () => void }) {
  const rows = [...Object.values(COMMANDS), ...MORE_KEYS];
  return (
    <Modal opened onClose={onClose} title={<Text fw={650}>Keyboard shortcuts</Text>} size="xl" returnFocus={false}>
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="xl" verticalSpacing={8}>
        {rows.map(({ title, keys }) => (
          <Group key={title} justify="space-between" wrap="nowrap" gap="xs">
            <Text fz="sm">{title}</Text>
            <Group gap={6} wrap="nowrap">
              {keys.map((key) => (
                <Kbd key={key} size="xs">
                  {keyLabel(key).join(" ")}
                </Kbd>
              ))}
            </Group>
          </Group>
        ))}
      </SimpleGrid>
    </Modal>
  );
}

function UndoQuestion({ dialog, onClose }: { dialog: Asked<"undo">; onClose: () => void }) {
  const editor = useEditor();
  const names = [...new Set(dialog.others.map(({ by }) => by?.name ?? "Somebody"))];
  const last = dialog.others.at(-1);
  const go = () => {
    onClose();
    editor.step(dialog.which, true);
  };
  return (
    <Modal opened onClose={onClose} title={<Text fw={650}>Others have built on this</Text>} returnFocus={false}>
      <Stack>
        <Text fz="sm">
          {names.join(", ")} changed the same place since{last && ` (${timeAgo(last.at)})`}. To {dialog.which} your edit
          changes theirs as well.
        </Text>
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            Leave it
          </Button>
          <Button color="red" onClick={go} data-autofocus>
            {dialog.which === "undo" ? "Undo" : "Redo"} anyway
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
