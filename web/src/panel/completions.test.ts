import { describe, expect, test } from "vitest";
import { proposalsAt, short, valueAt } from "./completions";
import { nodeData } from "./nodeData";

const data = {
  input: { status: 200, "x y": 1, body: { items: [{ n: 1 }] } },
  steps: { fetch: { output: { name: "Ada" } } },
};
const labels = (text: string, isTemplate = false) =>
  proposalsAt(text, text.length, data, isTemplate)?.options.map(({ label }) => label);

describe("proposals", () => {
  test("are the names that expressions see, with what they hold", () => {
    expect(labels("in")).toContain("inputs");
    expect(proposalsAt("", 0, data, false)?.options.find(({ label }) => label === "steps")?.detail).toContain("Ada");
  });

  test("are the fields of what stands before the dot, from the real data", () => {
    expect(labels("input.")).toEqual(["status", "body"]);
    expect(labels("1 + steps.fetch.output.na")).toEqual(["name"]);
    expect(labels("input.body.items[0].")).toEqual(["n"]);
    expect(labels("input.nothing.")).toEqual([]);
  });

  test("replace what was begun", () => {
    expect(proposalsAt("steps.fetch.output.na", 21, data, false)?.from).toBe(19);
  });

  test("are filters behind a bar", () => {
    expect(labels("input.body.items | le")).toContain("length");
  });

  test("come in a template only within braces, and never within a text", () => {
    expect(labels("Hello input.", true)).toBeUndefined();
    expect(labels("Hello {{ input.", true)).toEqual(["status", "body"]);
    expect(labels("{{ a }} input.", true)).toBeUndefined();
    expect(labels("'input.")).toBeUndefined();
    expect(labels("'a' ~ input.")).toEqual(["status", "body"]);
  });
});

test("paths lead to values, own ones only", () => {
  expect(valueAt("input['x y']", data)).toBe(1);
  expect(valueAt("input.body.items[0].n", data)).toBe(1);
  expect(valueAt("input.constructor", data)).toBeUndefined();
});

test("values are cut short", () => {
  expect(short("x".repeat(100))).toHaveLength(48);
  expect(short(undefined)).toBe("");
});

describe("the data of a node", () => {
  const step = (node_id: string, output: unknown, input: unknown = null) => ({ node_id, output, input });
  const edge = (source: string, target: string) => ({ source, target, source_handle: "out", target_handle: "in" });
  const edges = (...wires: ReturnType<typeof edge>[]) => new Map(wires.map((each, at) => [String(at), each as never]));
  const recorded = {
    run: { id: "r", version_id: "v", input: { order: 1 }, trigger: null },
    steps: [step("a", 1), step("b", { n: 2 }), step("z", 9)],
  } as never;

  test("is what the run recorded; for a node that did not run, what leads to it now", () => {
    const found = nodeData("new", recorded, edges(edge("a", "b"), edge("b", "new")), "w");
    expect(found.input).toEqual({ n: 2 });
    expect(found.inputs).toEqual({ b: { n: 2 } });
    expect(Object.keys(found.steps as object).sort()).toEqual(["a", "b"]);
  });

  test("is a list where several lead to it, and the run's input where nothing does", () => {
    expect(nodeData("new", recorded, edges(edge("a", "new"), edge("b", "new")), "w").input).toEqual([1, { n: 2 }]);
    expect(nodeData("new", recorded, edges(), "w").input).toEqual({ order: 1 });
  });

  test("is hardly anything before the first run", () => {
    expect(nodeData("new", null, edges(), "w")).toEqual({ workflow: { id: "w" } });
  });
});
