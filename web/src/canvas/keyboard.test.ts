import { describe, expect, test } from "vitest";
import { commands } from "./commands";
import type { FlowNode } from "./graph";
import { neighbour } from "./navigation";
import { sampleEditor } from "./sample";
import { COMMANDS, commandOf, keyLabel, type Pressed } from "./shortcuts";

const press = (key: string, more: Partial<Pressed> = {}): Pressed => ({
  key,
  ctrlKey: false,
  metaKey: false,
  shiftKey: false,
  altKey: false,
  ...more,
});

describe("keys", () => {
  test("find their command, with Ctrl or Cmd, whatever the case of the letter", () => {
    expect(commandOf(press("Tab"))).toBe("palette");
    expect(commandOf(press("+", { shiftKey: true }))).toBe("palette");
    expect(commandOf(press("?", { shiftKey: true }))).toBe("help");
    expect(commandOf(press("z", { ctrlKey: true }))).toBe("undo");
    expect(commandOf(press("Z", { metaKey: true, shiftKey: true }))).toBe("redo");
    expect(commandOf(press("D"))).toBe("disable");
    expect(commandOf(press("d", { ctrlKey: true }))).toBe("duplicate");
  });

  test("that the browser needs are left to it: Shift+Tab leaves the canvas", () => {
    expect(commandOf(press("Tab", { shiftKey: true }))).toBeUndefined();
    expect(commandOf(press("d", { altKey: true }))).toBeUndefined();
    expect(commandOf(press("c", { ctrlKey: true }))).toBeUndefined();
  });

  test("no two commands have the same one", () => {
    const keys = Object.values(COMMANDS).flatMap((command) => [...command.keys]);
    expect(new Set(keys).size).toBe(keys.length);
  });

  test("are written as people know them", () => {
    expect(keyLabel("Mod+Shift+z", false)).toEqual(["Ctrl", "⇧", "Z"]);
    expect(keyLabel("Mod+k", true)).toEqual(["⌘", "K"]);
    expect(keyLabel("+")).toEqual(["+"]);
  });
});

describe("arrow keys", () => {
  const at = (id: string, x: number, y: number) => ({ id, position: { x, y } }) as FlowNode;
  const nodes = [at("a", 0, 0), at("b", 300, 0), at("c", 320, 200), at("d", 600, 20)];

  test("go to the nearest node that way, rather straight on than aside", () => {
    expect(neighbour(nodes, nodes[0], "ArrowRight")?.id).toBe("b");
    expect(neighbour(nodes, nodes[1], "ArrowRight")?.id).toBe("d");
    expect(neighbour(nodes, nodes[1], "ArrowDown")?.id).toBe("c");
    expect(neighbour(nodes, nodes[2], "ArrowLeft")?.id).toBe("a");
    expect(neighbour(nodes, nodes[0], "ArrowLeft")).toBeUndefined();
  });

  test("begin at the upper left", () => {
    expect(neighbour(nodes, undefined, "ArrowRight")?.id).toBe("a");
    expect(neighbour([], undefined, "ArrowRight")).toBeUndefined();
  });
});

const THREE = {
  nodes: [
    { id: "a", type: "start", position: { x: 0, y: 0 } },
    { id: "b", type: "log", position: { x: 304, y: 0 } },
  ],
  edges: [{ source: "a", target: "b" }],
};

describe("commands", () => {
  test("delete what is selected, as one edit", () => {
    const { draft, editor } = sampleEditor(THREE);
    editor.graph.select(["a", "b"]);
    commands.delete(editor);
    expect(draft.edits).toHaveLength(1);
    expect(editor.nodes.size).toBe(0);
  });

  test("duplicate with the wires between, under new ids, and select the copies", () => {
    const { editor } = sampleEditor(THREE);
    commands.selectAll(editor);
    commands.duplicate(editor);
    expect([...editor.nodes.keys()]).toEqual(["a", "b", "start", "log"]);
    expect([...editor.edges.values()].at(-1)).toMatchObject({ source: "start", target: "log" });
    expect(editor.selected).toEqual(["start", "log"]);
  });

  test("the palette continues from the selected node", () => {
    const { editor } = sampleEditor(THREE);
    editor.graph.select(["b"]);
    commands.palette(editor);
    expect(editor.dialog.get()).toEqual({ kind: "palette", end: { node: "b", handle: "out", side: "source" } });
  });

  test("moving by keys goes by the grid", () => {
    const { editor } = sampleEditor(THREE);
    editor.graph.select(["b"]);
    editor.nudge("ArrowDown");
    expect(editor.nodes.get("b")?.position).toEqual({ x: 304, y: 16 });
  });

  test("undo asks first when others have built on it, and does it when told to", () => {
    const { draft, editor } = sampleEditor(THREE);
    draft.refusesUndo = true;
    commands.undo(editor);
    expect(draft.edits).toEqual([]);
    expect(editor.dialog.get()).toMatchObject({ kind: "undo", which: "undo", others: [{ by: { name: "Grace" } }] });
    editor.step("undo", true);
    expect(draft.edits).toEqual([[]]);
  });

  test("somebody who may only look changes nothing", () => {
    const { draft, editor } = sampleEditor(THREE, "viewer");
    commands.selectAll(editor);
    for (const name of ["delete", "disable", "duplicate", "palette", "rename", "execute"] as const)
      commands[name](editor);
    expect(draft.edits).toEqual([]);
    expect(editor.dialog.get()).toBeNull();
    expect(editor.renaming.get()).toBeNull();
  });
});
