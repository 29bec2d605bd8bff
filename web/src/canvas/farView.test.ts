import { describe, expect, test } from "vitest";
import { linesOf } from "./farLines";
import { shapesOf } from "./farShapes";
import { sampleEditor } from "./sample";

const CHAIN = {
  nodes: [
    { id: "a", type: "log", name: "A", position: { x: 0, y: 0 } },
    { id: "b", type: "log", name: "B", position: { x: 300, y: 0 } },
    { id: "c", type: "log", name: "C", position: { x: 600, y: 0 }, disabled: true },
  ],
  edges: [
    { source: "a", target: "b" },
    { source: "b", target: "c" },
  ],
};

function chain() {
  const { editor } = sampleEditor(CHAIN);
  const { types } = editor;
  const [run, problems, selecting] = [editor.run.get(), editor.problems.get(), editor.people.get().selecting];
  return {
    editor,
    nodes: editor.graph.nodes.get(),
    edges: editor.graph.edges.get(),
    shown: { types, run, problems, selecting },
  };
}

describe("from afar", () => {
  test("wires of one look are one line", () => {
    const { nodes, edges, shown } = chain();
    const lines = linesOf(edges, nodes, shown);
    expect([...lines.keys()]).toEqual(["idle"]);
    expect(lines.get("idle")?.match(/M/g)).toHaveLength(2);
  });

  test("a wire goes from the right side of its node to the left side of the next", () => {
    const { nodes, edges, shown } = chain();
    expect(linesOf(edges.slice(0, 1), nodes, shown).get("idle")).toMatch(/^M224,32 C.* 300,32$/);
  });

  test("a wire follows a node that is dragged, and is back when that is let go", () => {
    const { nodes, edges, shown } = chain();
    const shifts = new Map([["b", { x: 10, y: 20 }]]);
    const lineWith = (more: object) => linesOf(edges.slice(0, 1), nodes, { ...shown, ...more }).get("idle");
    const before = lineWith({});
    expect(lineWith({ shifts })).toMatch(/ 310,52$/);
    expect(lineWith({})).toBe(before);
  });

  test("a wire is drawn anew when its node has got another position", () => {
    const { editor, edges, nodes, shown } = chain();
    linesOf(edges, nodes, shown);
    editor.graph.changeNodes([{ type: "position", id: "b", position: { x: 316, y: 0 }, dragging: false }]);
    expect(linesOf(edges.slice(0, 1), editor.graph.nodes.get(), shown).get("idle")).toMatch(/ 316,32$/);
  });

  test("nodes that look the same are one shape, those below others first", () => {
    const { nodes, shown } = chain();
    const shapes = shapesOf(nodes, shown);
    expect(shapes.map(({ part, look }) => `${part} ${look}`.trim())).toEqual([
      "box",
      "box disabled",
      "tile 168",
      "tile",
      "name",
      "name disabled",
      "kind",
      "kind disabled",
    ]);
    expect(shapes[0]?.data.match(/M/g)).toHaveLength(2);
  });

  test("a selected node has a ring, one with problems a mark", () => {
    const { editor, shown } = chain();
    editor.graph.select(["a"]);
    const problems = new Map([["b", [{ field: "config", problem: "missing" }]]]);
    const shapes = shapesOf(editor.graph.nodes.get(), { ...shown, problems });
    expect(shapes[0]?.part).toBe("ring");
    expect(shapes.at(-1)).toMatchObject({ part: "mark", look: "problem" });
  });
});
