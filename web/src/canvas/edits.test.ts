import { describe, expect, test } from "vitest";
import { addition, free, insertion, looseOutput, obstacle, placeAfter, removal, toggling } from "./edits";
import { outputsOf } from "./handles";
import { node, nodeType, TYPES, wire } from "./sample";

const nodes = new Map(
  [
    node({ id: "a", type: "start", position: { x: 0, y: 0 } }),
    node({ id: "b", type: "log", name: "log", position: { x: 320, y: 0 } }),
    node({ id: "c", type: "log", position: { x: 640, y: 0 } }),
  ].map((each) => [each.id, each]),
);
const edges = new Map([wire("a", "b"), wire("b", "c")].map((each) => [each.id, each]));
const log = TYPES.get("log") as ReturnType<typeof nodeType>;

describe("adding", () => {
  test("gives a free id and a free name, on the grid", () => {
    const taken = new Map(nodes).set("log", node({ id: "log", type: "log" }));
    const { id, ops } = addition(taken, log, { x: 17, y: 3 });
    expect(id).toBe("log_2");
    expect(ops).toEqual([{ op: "node.add", id: "log_2", type: "log", name: "log 2", position: { x: 16, y: 0 } }]);
  });

  test("connects to the output it was drawn from, and to the input when drawn backwards", () => {
    const from = addition(nodes, log, { x: 0, y: 0 }, { node: "a", handle: "out", side: "source" });
    expect(from.ops[1]).toMatchObject({ op: "edge.add", source: "a", target: "log", target_handle: "in" });
    const to = addition(nodes, log, { x: 0, y: 0 }, { node: "b", handle: "in", side: "target" });
    expect(to.ops[1]).toMatchObject({ op: "edge.add", source: "log", source_handle: "out", target: "b" });
  });

  test("draws no wire to a trigger", () => {
    const start = TYPES.get("start") as typeof log;
    expect(addition(nodes, start, { x: 0, y: 0 }, { node: "a", handle: "out", side: "source" }).ops).toHaveLength(1);
  });

  test("into a wire takes it apart and makes room", () => {
    const [edge] = edges.values();
    const made = insertion(nodes, log, edge as never);
    expect(made?.ops.map(({ op }) => op)).toEqual([
      "edge.remove",
      "node.add",
      "edge.add",
      "edge.add",
      "node.set",
      "node.set",
    ]);
    expect(insertion(nodes, TYPES.get("stop") as typeof log, edge as never)).toBeNull();
  });

  test("stands beside what it follows and never on another node", () => {
    expect(placeAfter(nodes, edges, nodes.get("a") as never)).toEqual({ x: 320, y: 96 });
    expect(free(nodes, { x: 0, y: 0 }).y).toBeGreaterThanOrEqual(64);
  });
});

describe("connecting", () => {
  test("is refused to itself, twice, and in a circle", () => {
    expect(obstacle(edges, wire("a", "a"))).toMatch(/itself/);
    expect(obstacle(edges, wire("a", "b"))).toMatch(/already/);
    expect(obstacle(edges, wire("c", "a"))).toMatch(/circle/);
    expect(obstacle(edges, wire("a", "c"))).toBeNull();
    expect(obstacle(edges, wire("a", "b", "error"))).toBeNull();
  });

  test("begins at the first output that nothing follows", () => {
    const choice = node({ id: "d", type: "if" });
    const one = new Map([wire("d", "a", "true")].map((each) => [each.id, each]));
    expect(looseOutput(TYPES.get("if"), choice, one)?.handle).toBe("false");
    expect(looseOutput(TYPES.get("stop"), node({ id: "e", type: "stop" }), one)).toBeUndefined();
  });
});

test("removing nodes leaves their wires to the server, and removes others", () => {
  const [first, second] = [...edges.keys()];
  expect(removal(edges, ["a"], [first as string, second as string])).toEqual([
    { op: "edge.remove", id: second },
    { op: "node.remove", id: "a" },
  ]);
});

test("disabling several disables all, and enables only when all are disabled", () => {
  const one = new Map(nodes).set("a", node({ id: "a", type: "start", disabled: true }));
  expect(toggling(one, ["a", "b"]).every((op) => op.op === "node.set" && op.value === true)).toBe(true);
  expect(toggling(one, ["a"])).toEqual([{ op: "node.set", id: "a", path: ["disabled"], value: false }]);
});

describe("outputs", () => {
  const of = (type: string, config: object, more = {}) =>
    outputsOf(nodeType(type, { outputs: type === "if" ? ["true", "false"] : ["out", "timeout"] }), {
      ...node({ id: "x", type, ...more }),
      config: config as never,
    });

  test("follow the parameters as on the server", () => {
    expect(of("if", { conditions: [{ expression: "a" }] })).toEqual(["true", "false"]);
    expect(of("if", { conditions: [{ expression: "a", branch: "big" }, { expression: "b" }] })).toEqual([
      "big",
      "branch_2",
      "else",
    ]);
    expect(of("switch", { cases: [{ handle: "x" }, { handle: "y" }, { handle: "x" }] })).toEqual(["x", "y", "default"]);
    expect(of("switch", { cases: [], default: "rest" })).toEqual(["rest"]);
    expect(of("wait", {})).toEqual(["out"]);
    expect(of("wait", { onTimeout: "branch" })).toEqual(["out", "timeout"]);
  });

  test("are joined by `error` where errors branch off", () => {
    expect(of("wait", {}, { on_error: "branch" })).toEqual(["out", "error"]);
  });
});
