import { describe, expect, test } from "vitest";
import type { Editor } from "./editor";
import { sampleEditor } from "./sample";

const TWO = {
  nodes: [
    { id: "a", type: "start", position: { x: 0, y: 0 } },
    { id: "b", type: "log", position: { x: 300, y: 0 } },
  ],
  edges: [{ source: "a", target: "b" }],
};

describe("what is drawn", () => {
  test("a node that has not changed stays the same object, so it is not drawn again", () => {
    const { editor } = sampleEditor(TWO);
    const [a, b] = editor.graph.nodes.get();
    const edges = editor.graph.edges.get();
    editor.edit([{ op: "node.set", id: "b", path: ["name"], value: "Say" }], "rename");
    const [sameA, otherB] = editor.graph.nodes.get();
    expect(sameA).toBe(a);
    expect(otherB).not.toBe(b);
    expect(otherB?.data.node.name).toBe("Say");
    expect(editor.graph.edges.get()).toBe(edges);
  });

  test("news that change nothing of the graph leave the whole list as it is", () => {
    const { draft, editor } = sampleEditor(TWO);
    const before = editor.graph.nodes.get();
    draft.show({ pending: 3, status: "saving" });
    expect(editor.graph.nodes.get()).toBe(before);
  });

  test("an edge that leads nowhere is not drawn", () => {
    const { editor } = sampleEditor({ ...TWO, edges: [{ source: "a", target: "gone" }] });
    expect(editor.graph.edges.get()).toEqual([]);
  });

  test("what one drags stays under the pointer when others edit", () => {
    const { draft, editor } = sampleEditor(TWO);
    editor.graph.changeNodes([{ type: "position", id: "b", position: { x: 320, y: 48 }, dragging: true }]);
    draft.edit([{ op: "node.set", id: "b", path: ["position"], value: { x: 900, y: 900 } }]);
    expect(seen(editor, "b")).toEqual({ x: 320, y: 48 });
    editor.graph.changeNodes([{ type: "position", id: "b", dragging: false }]);
    draft.edit([{ op: "node.set", id: "b", path: ["name"], value: "c" }]);
    expect(editor.graph.nodes.get()[1]?.position).toEqual({ x: 900, y: 900 });
  });

  test("only the draft adds and removes nodes", () => {
    const { editor } = sampleEditor(TWO);
    editor.graph.changeNodes([{ type: "remove", id: "a" }]);
    expect(editor.graph.nodes.get()).toHaveLength(2);
  });

  test("a node that is about to come can be selected already", () => {
    const { draft, editor } = sampleEditor(TWO);
    editor.graph.select(["c"]);
    draft.edit([{ op: "node.add", id: "c", type: "log" }]);
    expect(editor.selected).toEqual(["c"]);
  });
});

/** Where a node is drawn. */
function seen({ graph }: Editor, id: string) {
  const { x = 0, y = 0 } = graph.nodes.get().find((node) => node.id === id)?.position ?? {};
  const by = graph.shifts.get().get(id) ?? { x: 0, y: 0 };
  return { x: x + by.x, y: y + by.y };
}

describe("dragging", () => {
  const move = (x: number, y: number) => ({ type: "position", id: "b", position: { x, y }, dragging: true }) as const;

  test("leaves the list of nodes as it is until the drop", () => {
    const { editor } = sampleEditor(TWO);
    const before = editor.graph.nodes.get();
    editor.graph.changeNodes([move(310, 8)]);
    editor.graph.changeNodes([move(320, 48)]);
    expect(editor.graph.nodes.get()).toBe(before);
    expect(editor.graph.shifts.get()).toEqual(new Map([["b", { x: 20, y: 48 }]]));
    editor.graph.changeNodes([{ ...move(320, 48), dragging: false }]);
    expect(editor.graph.nodes.get()[1]?.position).toEqual({ x: 320, y: 48 });
    expect(editor.graph.shifts.get().size).toBe(0);
  });

  test("goes on from where the node is when the view has moved on the way", () => {
    const { editor } = sampleEditor(TWO);
    editor.graph.changeNodes([move(320, 48)]);
    editor.graph.settle();
    expect(editor.graph.nodes.get()[1]?.position).toEqual({ x: 320, y: 48 });
    expect(seen(editor, "b")).toEqual({ x: 320, y: 48 });
    editor.graph.changeNodes([move(400, 48)]);
    expect(seen(editor, "b")).toEqual({ x: 400, y: 48 });
  });

  test("is presence while it lasts, and one edit when it is dropped", () => {
    const { draft, editor } = sampleEditor(TWO);
    const position = { x: 320, y: 48 };
    editor.dragging([{ ...editor.graph.nodes.get()[1], position } as never]);
    expect(draft.presence.dragging).toEqual({ b: position });
    expect(draft.edits).toEqual([]);
    editor.dropped([{ ...editor.graph.nodes.get()[1], position } as never]);
    expect(draft.edits).toEqual([[{ op: "node.set", id: "b", path: ["position"], value: { x: 320, y: 48 } }]]);
  });

  test("is shown to others at its place until the drop is committed", () => {
    const { draft, editor } = sampleEditor(TWO);
    editor.dragging([{ ...editor.graph.nodes.get()[1], position: { x: 1, y: 2 } } as never]);
    draft.show({ pending: 1 });
    editor.dropped([]);
    expect(draft.presence.dragging).not.toBeNull();
    draft.show({ pending: 0 });
    expect(draft.presence.dragging).toBeNull();
  });

  test("of others moves the node here, and it is back when they let go", () => {
    const { draft, editor } = sampleEditor(TWO);
    const grace = { id: "g", name: "Grace", color: "#d9480f" };
    draft.meet({ p: { ...grace, state: { dragging: { b: { x: 5, y: 6 } } } } });
    expect(editor.graph.nodes.get()[1]?.position).toEqual({ x: 5, y: 6 });
    draft.meet({ p: { ...grace, state: {} } });
    expect(editor.graph.nodes.get()[1]?.position).toEqual({ x: 300, y: 0 });
  });
});
