import { expect, test } from "vitest";
import { copied, MOST_PASTED, pasting, readPasted } from "./clipboard";
import { node, wire } from "./sample";

const nodes = new Map(
  [
    node({ id: "fetch", type: "http_request", position: { x: 0, y: 0 } }),
    node({
      id: "say",
      type: "log",
      position: { x: 200, y: 100 },
      config: { message: "{{ steps.fetch.output.name }} {{ steps.fetcher.output }}", list: ["{{ inputs.fetch }}"] },
    }),
  ].map((each) => [each.id, each]),
);
const edges = new Map([wire("fetch", "say"), wire("other", "fetch")].map((each) => [each.id, each]));

test("what is copied is a definition: the nodes, and the wires between them", () => {
  const parts = JSON.parse(copied(nodes, edges, ["fetch", "say"]));
  expect(parts.nodes.map(({ id }: { id: string }) => id)).toEqual(["fetch", "say"]);
  expect(parts.edges).toEqual([{ source: "fetch", source_handle: "out", target: "say", target_handle: "in" }]);
});

test("what is pasted gets free ids, and names itself by them", () => {
  const read = readPasted(copied(nodes, edges, ["fetch", "say"]));
  const { ids, ops } = pasting(nodes, read as never, { x: 500, y: 50 });
  expect(ids).toEqual(["http_request", "log"]);
  expect(ops[1]).toMatchObject({
    op: "node.add",
    id: "log",
    position: { x: 600, y: 100 },
    config: {
      message: "{{ steps.http_request.output.name }} {{ steps.fetcher.output }}",
      list: ["{{ inputs.http_request }}"],
    },
  });
  expect(ops[2]).toMatchObject({ op: "edge.add", source: "http_request", target: "log" });
});

test("ids that are free are kept", () => {
  const read = readPasted(copied(nodes, edges, ["fetch", "say"]));
  expect(pasting(new Map(), read as never).ids).toEqual(["fetch", "say"]);
});

test("a whole workflow file can be pasted, and anything else is left to the browser", () => {
  expect(
    readPasted(JSON.stringify({ name: "x", definition: { nodes: [{ id: "a", type: "b" }] } }))?.nodes,
  ).toHaveLength(1);
  for (const text of ["hello", "{}", "[]", '{"nodes": []}', '{"nodes": [{"id": 1}]}', "null"]) {
    expect(readPasted(text)).toBeNull();
  }
  const many = Array.from({ length: MOST_PASTED + 1 }, (_, index) => ({ id: `n${index}`, type: "noop" }));
  expect(readPasted(JSON.stringify({ nodes: many }))).toBeNull();
});
