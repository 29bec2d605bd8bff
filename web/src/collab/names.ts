// A node under another id, in operations that still wait: they mean the node, not the word.

import { edgeId } from "./definition.ts";
import { equal, isList, isObject, type Json } from "./json.ts";
import type { Operation } from "./operations.ts";

const WORD = /^[A-Za-z_][A-Za-z0-9_]*$/;

export type Renaming = {
  readonly from: string;
  readonly to: string;
  /** Ids of the edges at the node before and after. */
  readonly edges: ReadonlyMap<string, string>;
};

/** The operation with the node's new id wherever it had the old one, expressions in written values included. */
export function renamed(op: Operation, renaming: Renaming): Operation {
  const next = rewritten(op, renaming);
  return equal(next as Json, op as Json) ? op : next;
}

function rewritten(op: Operation, renaming: Renaming): Operation {
  const idOf = (id: string) => (id === renaming.from ? renaming.to : id);
  switch (op.op) {
    case "node.add":
      return { ...(referring(op as Json, renaming) as typeof op), id: idOf(op.id) };
    case "node.remove":
    case "node.rename":
    case "node.unset":
    case "text.edit":
      return op.id === renaming.from ? { ...op, id: renaming.to } : op;
    case "node.set":
      return { ...op, id: idOf(op.id), value: referring(op.value, renaming) };
    case "edge.add": {
      const edge = { ...op, source: idOf(op.source), target: idOf(op.target) };
      if (op.id === undefined) return edge;
      return { ...edge, id: edgeId(edge.source, edge.source_handle ?? "out", edge.target, edge.target_handle ?? "in") };
    }
    case "edge.remove":
      return { ...op, id: renaming.edges.get(op.id) ?? op.id };
    default:
      return op;
  }
}

/** The value with expressions that refer to the node by its new id. */
function referring(value: Json, { from, to }: Renaming): Json {
  const reference = new RegExp(`\\bsteps(?:\\.${from}(?![A-Za-z0-9_])|\\[(["'])${from}\\1\\])`, "g");
  const written = WORD.test(to) ? `steps.${to}` : `steps["${to}"]`;
  const inside = (part: Json): Json => {
    if (typeof part === "string") return part.includes("steps") ? part.replace(reference, written) : part;
    if (isList(part)) return part.map(inside);
    if (!isObject(part)) return part;
    return Object.fromEntries(Object.entries(part).map(([key, inner]) => [key, inside(inner)]));
  };
  return inside(value);
}
