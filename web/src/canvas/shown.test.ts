import { describe, expect, test } from "vitest";
import { editText, grouped, type HistoryEdit } from "./edited";
import { fieldKey, peopleOf } from "./people";
import { problemsByNode } from "./problems";
import { savedRevision } from "./running";
import { SampleDraft } from "./sample";
import { savedText } from "./saved";
import { found } from "./search";
import { Store } from "./store";

describe("the state of being saved", () => {
  test("is told as the library knows it", () => {
    expect(savedText({ status: "saved", pending: 0 })).toBe("Saved");
    expect(savedText({ status: "saving", pending: 2 })).toBe("Saving …");
    expect(savedText({ status: "offline", pending: 1 })).toBe("Offline, 1 change here");
    expect(savedText({ status: "offline", pending: 12 })).toBe("Offline, 12 changes here");
    expect(savedText({ status: "closed", pending: 0, closed: { code: 4404, reason: "It was deleted." } })).toBe(
      "Closed: It was deleted.",
    );
  });

  test("calls that need the draft wait for it, and are refused when it does not come", async () => {
    const draft = new SampleDraft({});
    draft.show({ pending: 1, status: "saving" });
    const waiting = savedRevision({ draft: draft as never });
    draft.show({ pending: 0, status: "saved", seq: 7 });
    await expect(waiting).resolves.toBe(7);
    draft.show({ pending: 1, status: "offline" });
    await expect(savedRevision({ draft: draft as never }, 1)).rejects.toThrow(/not reached/);
  });
});

describe("others", () => {
  const grace = { id: "g", name: "Grace", color: "#d9480f" };

  test("are seen where they are: cursor, selection, field, drag", () => {
    const state = {
      cursor: { x: 1, y: 2 },
      selection: ["a", "b"],
      field: { id: "a", path: ["config", "url"], anchor: 0, head: 0 },
      dragging: { b: { x: 3, y: 4 } },
    };
    const people = peopleOf(new Map([["p", { ...grace, state }]]));
    const person = { peer: "p", name: "Grace", color: "#d9480f" };
    expect(people.cursors).toEqual([{ ...person, at: { x: 1, y: 2 } }]);
    expect(people.selecting.get("b")).toEqual([person]);
    expect(people.typing.get(fieldKey("a", ["config", "url"]))).toEqual([person]);
    expect(people.dragged.get("b")).toEqual({ x: 3, y: 4 });
  });

  test("whatever a client sends of itself breaks nothing", () => {
    const odd = { cursor: "here", selection: { a: 1 }, field: [1], dragging: { a: { x: "1", y: null } } };
    const people = peopleOf(new Map([["p", { ...grace, color: "red;} *{display:none", state: odd as never }]]));
    expect(people.cursors).toEqual([]);
    expect(people.dragged.size).toBe(0);
    expect(people.all[0]?.color).toMatch(/^#/);
  });

  test("moving a cursor changes nothing for nodes and fields", () => {
    const at = (x: number) => new Map([["p", { ...grace, state: { cursor: { x, y: 0 }, selection: ["a"] } }]]);
    const before = peopleOf(at(1));
    const after = peopleOf(at(2), before);
    expect(after.selecting).toBe(before.selecting);
    expect(after.typing).toBe(before.typing);
    expect(after.all).toBe(before.all);
  });
});

test("problems are told at the node they belong to", () => {
  const told = [
    { field: "nodes.a.config.url", problem: "missing" },
    { field: "nodes.a", problem: "circle" },
    { field: "nodes", problem: "no trigger" },
    "nonsense",
  ];
  const first = problemsByNode(told);
  expect(first.get("a")).toEqual([
    { field: "config.url", problem: "missing" },
    { field: "", problem: "circle" },
  ]);
  expect(first.get("")).toEqual([{ field: "nodes", problem: "no trigger" }]);
  expect(problemsByNode([...told], first)).toBe(first);
});

test("searching finds all words, titles first", () => {
  const choices = [
    { key: "1", title: "Log", detail: "Writes a line for an HTTP call" },
    { key: "2", title: "HTTP request", aside: "Integrations" },
    { key: "3", title: "Merge" },
  ];
  expect(found(choices, "http").map(({ key }) => key)).toEqual(["2", "1"]);
  expect(found(choices, "http integ").map(({ key }) => key)).toEqual(["2"]);
  expect(found(choices, "(")).toEqual([]);
  expect(found(choices, " ")).toBe(choices);
});

describe("history", () => {
  const edit = (seq: number, seconds: number, ops: HistoryEdit["ops"], by = "Ada"): HistoryEdit => ({
    seq,
    at: new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString(),
    by: { id: by, name: by },
    client: "c",
    ops,
    reverts: null,
  });

  test("says what was done", () => {
    expect(editText([{ op: "node.add", id: "a", type: "log" }])).toBe("Added a");
    expect(editText([{ op: "node.set", id: "a", path: ["config", "url"], value: 1 }])).toBe("Changed url of a");
    expect(editText([{ op: "node.set", id: "a", path: ["position"], value: {} }])).toBe("Moved a");
    expect(editText([{ op: "node.set", id: "a", path: ["disabled"], value: true }])).toBe("Disabled a");
    expect(editText([{ op: "node.set", id: "a", path: ["disabled"], value: false }])).toBe("Enabled a");
    expect(editText([{ op: "node.set", id: "a", path: ["name"], value: "Ask" }])).toBe("Renamed a to “Ask”");
    expect(editText([])).toBe("Nothing");
  });

  test("says what nodes are called", () => {
    const nameOf = (id: string) => (id === "a" ? "Ask" : id);
    expect(editText([{ op: "node.remove", id: "a" }], nameOf)).toBe("Deleted Ask");
    const wire = { source: "a", source_handle: "out", target: "b", target_handle: "in" };
    expect(editText([{ op: "edge.add", ...wire }], nameOf)).toBe("Connected Ask to b");
  });

  test("takes repeated edits of one person together, not those of others and not much later ones", () => {
    const ops = [{ op: "node.set", id: "a", path: ["name"], value: "x" }] as const;
    const groups = grouped([
      edit(5, 300, ops),
      edit(4, 12, ops, "Bo"),
      edit(3, 10, ops),
      edit(2, 5, ops),
      edit(1, 1, ops),
    ]);
    expect(groups.map(({ edits }) => edits.map(({ seq }) => seq))).toEqual([[5], [4], [3, 2, 1]]);
  });
});

test("a store tells only of another value", () => {
  const store = new Store(1);
  let told = 0;
  const stop = store.subscribe(() => {
    told += 1;
  });
  store.set(1);
  store.set(2);
  stop();
  store.set(3);
  expect(told).toBe(1);
});
