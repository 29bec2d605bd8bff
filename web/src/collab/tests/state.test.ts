// @vitest-environment node

// States are immutable and share what they can.

import { expect, test } from "vitest";
import { apply } from "../apply.ts";
import { edgeId, freshId } from "../definition.ts";
import { canonical, equal } from "../json.ts";
import { renamed } from "../names.ts";
import { setAt, unsetAt } from "../paths.ts";
import { type DraftState, definitionOf, load, sharing, Working } from "../state.ts";
import { touching } from "../touches.ts";

const MANY: DraftState = load({
  nodes: Array.from({ length: 500 }, (_, n) => ({ id: `n${n}`, type: "set", position: { x: n, y: 0 } })),
  edges: Array.from({ length: 499 }, (_, n) => ({ source: `n${n}`, target: `n${n + 1}` })),
});

test("an edit of one node copies one map, and no other node", () => {
  const work = new Working(MANY);
  apply(work, [{ op: "node.set", id: "n7", path: ["position"], value: { x: 1, y: 1 } }]);
  const after = work.state();
  expect(after.edges).toBe(MANY.edges);
  expect(after.settings).toBe(MANY.settings);
  const changed = [...after.nodes].filter(([id, node]) => node !== MANY.nodes.get(id));
  expect(changed.map(([id]) => id)).toEqual(["n7"]);
  expect(definitionOf(after).edges).toBe(definitionOf(MANY).edges);
});

test("many operations of one edit copy the map once", () => {
  const copies: unknown[] = [];
  const work = new Working(MANY);
  for (let n = 0; n < 100; n += 1) {
    apply(work, [{ op: "node.set", id: `n${n}`, path: ["name"], value: "x" }]);
    copies.push(work.nodes);
  }
  expect(new Set(copies).size).toBe(1);
  expect(MANY.nodes.get("n0")?.name).toBe("");
});

test("an edit that fails in the middle leaves nothing behind", () => {
  const work = new Working(MANY);
  const ops = [
    { op: "node.remove", id: "n3" },
    { op: "node.remove", id: "n3" },
  ] as const;
  expect(() => apply(work, ops)).toThrow();
  expect(work.state()).toBe(MANY);
});

test("an equal state is the same one", () => {
  const again = load(JSON.parse(JSON.stringify(definitionOf(MANY))));
  expect(sharing(MANY, again)).toBe(MANY);
  const work = new Working(again);
  apply(work, [{ op: "node.set", id: "n7", path: ["name"], value: "x" }]);
  const shared = sharing(MANY, work.state());
  expect(shared.nodes.get("n8")).toBe(MANY.nodes.get("n8"));
  expect(shared.edges).toBe(MANY.edges);
});

test("nodes in another order are not the same", () => {
  const turned = { ...MANY, nodes: new Map([...MANY.nodes].reverse()) };
  expect(sharing(MANY, turned)).not.toBe(MANY);
});

test("keys that objects inherit are keys like any other", () => {
  const value = setAt({}, ["__proto__", "constructor"], 1);
  expect(JSON.stringify(value)).toBe('{"__proto__":{"constructor":1}}');
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  expect(JSON.stringify(unsetAt(value, ["__proto__"]))).toBe("{}");
  expect(unsetAt({}, ["toString"])).toEqual({});
});

test("values are compared as JSON, and written in one way", () => {
  expect(equal({ a: 1, b: [1, { c: null }] }, { b: [1, { c: null }], a: 1 })).toBe(true);
  expect(equal({ a: 1 }, { a: 1, b: null })).toBe(false);
  expect(equal([], {})).toBe(false);
  expect(canonical({ b: [1, "ä"], a: null })).toBe('{"a":null,"b":[1,"ä"]}');
});

test("a fresh id is a short word that nobody has", () => {
  const taken = new Set(["http_request", "http_request_2", "node"]);
  expect(freshId(taken, "http_request")).toBe("http_request_3");
  expect(freshId(taken, "my node!")).toBe("my_node");
  expect(freshId(taken, "***")).toBe("node_2");
  expect(freshId(new Set<string>(), "x".repeat(200))).toBe("x".repeat(80));
});

test("the id of an edge is derived as the server does", () => {
  expect(edgeId("a", "out", "b", "in")).toBe("e_c8f5f21ee84a9068");
});

test("a renamed node is meant by its new id wherever it was meant", () => {
  const renaming = { from: "a", to: "a-2", edges: new Map([["e_old", "e_new"]]) };
  const value = { text: '{{ steps.a.output }} {{ steps["a"].x }} steps.ab', list: ["steps.a"] };
  expect(renamed({ op: "node.set", id: "b", path: ["config"], value }, renaming)).toMatchObject({
    value: { text: '{{ steps["a-2"].output }} {{ steps["a-2"].x }} steps.ab', list: ['steps["a-2"]'] },
  });
  expect(renamed({ op: "edge.remove", id: "e_old" }, renaming)).toEqual({ op: "edge.remove", id: "e_new" });
  expect(renamed({ op: "edge.add", source: "b", target: "a" }, renaming)).toMatchObject({ target: "a-2" });
});

test("edits touch each other at a place, around it and inside it, and nowhere else", () => {
  const set = (id: string, ...path: string[]) => [{ op: "node.set", id, path, value: 1 }] as const;
  expect(touching(set("a", "config"), set("a", "config", "url"))).toBe(true);
  expect(touching(set("a", "config", "url"), set("a", "config"))).toBe(true);
  expect(touching(set("a", "config", "url"), set("a", "config", "body"))).toBe(false);
  expect(touching(set("a", "name"), set("b", "name"))).toBe(false);
  expect(touching(set("a", "name"), [{ op: "node.remove", id: "a" }])).toBe(true);
  expect(touching(set("a", "name"), [{ op: "edge.add", source: "a", target: "b" }])).toBe(false);
  expect(touching([{ op: "node.remove", id: "a" }], [{ op: "edge.add", source: "a", target: "b" }])).toBe(true);
  expect(touching(set("a", "name"), [{ op: "draft.replace", definition: {} }])).toBe(true);
});
