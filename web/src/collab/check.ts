// What the library refuses itself, before it shows an edit: what could not be applied at all. The server checks more
// (roles, values of fields, sizes), so an edit that passes here may still be refused.

import { completeEdge, completeNode } from "./definition.ts";
import { edgesAt } from "./edges.ts";
import type { Json } from "./json.ts";
import type { EdgeAdd, NodeAdd, NodeRename, NodeSet, NodeUnset, Operation, TextEdit } from "./operations.ts";
import { getAt, NoSuchPlace, type Path, setAt, unsetAt } from "./paths.ts";
import type { Working } from "./state.ts";
import { BadChanges, changed, readChanges } from "./text.ts";

const NODE_FIELDS = new Set([
  "name",
  "position",
  "config",
  "disabled",
  "timeout_seconds",
  "retry",
  "on_error",
  "on_interrupted",
  "labels",
]);
const META_FIELDS = new Set(["settings", "notes"]);
const NODE_ID = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$/;
export const MOST_OPERATIONS = 5_000;
/** In bytes: a frame of 1 MiB, less what is around the operations. */
const LARGEST_EDIT = 1024 * 1024 - 1024;

export type Problem = { readonly field: string; readonly problem: string };

/** An edit that cannot be applied; `error` is the code the server would answer with. */
export class Refused extends Error {
  constructor(
    readonly error: string,
    message: string,
    readonly details: readonly Problem[] = [],
  ) {
    super(message);
  }
}

/** Refuse what does not fit into a frame: the server closes the connection over it. */
export function refuseTooLarge(ops: readonly Operation[]): void {
  if (ops.length > MOST_OPERATIONS) {
    throw new Refused("too_large", `An edit has at most ${MOST_OPERATIONS} operations.`);
  }
  const text = JSON.stringify(ops);
  const mayBe = text.length * 3 > LARGEST_EDIT; // a UTF-16 unit has 3 bytes of UTF-8 at most
  if (mayBe && new TextEncoder().encode(text).length > LARGEST_EDIT) {
    throw new Refused("too_large", "An edit has at most 1 MiB.");
  }
}

/** The operation with everything the server would complete. Raises Refused when it cannot be applied. */
export function checked(work: Working, op: Operation): Operation {
  switch (op.op) {
    case "node.add":
      return checkedNode(work, op);
    case "node.remove":
      need(work, op.id, "id");
      return op;
    case "node.rename":
      return checkedRename(work, op);
    case "node.set":
    case "node.unset":
      return checkedChange(work, op);
    case "text.edit":
      return checkedText(work, op);
    case "edge.add":
      return checkedEdge(work, op);
    case "edge.remove":
      if (!work.edges.has(op.id)) throw new Refused("not_found", "There is no such edge.");
      return op;
    case "meta.set":
      needField(META_FIELDS, op.path);
      place(() => setAt({ settings: work.settings, notes: work.notes }, op.path, op.value));
      return op;
    case "draft.replace":
      return op;
    default:
      throw new Refused("bad_request", `There is no operation ${JSON.stringify((op as { op: string }).op)}.`);
  }
}

function checkedNode(work: Working, op: NodeAdd): Operation {
  if (typeof op.id !== "string" || !NODE_ID.test(op.id)) throw refusedField("id", "This is not a node id.");
  if (typeof op.type !== "string" || op.type === "") throw refusedField("type", "A node has a type.");
  if (work.nodes.has(op.id)) throw new Refused("conflict", `There is a node ${op.id} already.`);
  return { op: op.op, ...completeNode(op) };
}

function checkedRename(work: Working, op: NodeRename): Operation {
  need(work, op.id, "id");
  if (!NODE_ID.test(op.to)) throw refusedField("to", "This is not a node id.");
  if (work.nodes.has(op.to)) throw new Refused("conflict", `There is a node ${op.to} already.`);
  if (edgesAt(work, op.to).length > 0) throw new Refused("conflict", `Edges name ${op.to} already.`);
  return op;
}

function checkedChange(work: Working, op: NodeSet | NodeUnset): Operation {
  const node = need(work, op.id, "id");
  needField(NODE_FIELDS, op.path);
  place(() => (op.op === "node.set" ? setAt(node, op.path, op.value) : unsetAt(node, op.path)));
  return op;
}

function checkedText(work: Working, op: TextEdit): Operation {
  const node = need(work, op.id, "id");
  needField(NODE_FIELDS, op.path);
  const text: Json = getAt(node, op.path) ?? "";
  if (typeof text !== "string") throw refusedField("path", "This is not a text.");
  place(() => setAt(node, op.path, changed(text, readChanges(op.changes))));
  return op;
}

function checkedEdge(work: Working, op: EdgeAdd): Operation {
  need(work, op.source, "source");
  need(work, op.target, "target");
  const edge = completeEdge(op);
  if (work.edges.has(edge.id)) throw new Refused("conflict", "The draft has this edge already.");
  return { op: op.op, ...edge };
}

function need(work: Working, id: string, field: string) {
  const node = work.nodes.get(id);
  if (node === undefined) {
    const message = `There is no node ${JSON.stringify(id)}.`;
    throw new Refused("not_found", message, [{ field, problem: message }]);
  }
  return node;
}

function needField(known: ReadonlySet<string>, path: Path): void {
  const [field] = path;
  if (typeof field !== "string" || !known.has(field)) {
    throw refusedField("path", `A path begins with one of ${[...known].join(", ")}.`);
  }
}

function place(attempt: () => unknown): void {
  try {
    attempt();
  } catch (error) {
    if (error instanceof NoSuchPlace) throw refusedField("path", error.message);
    if (error instanceof BadChanges) throw refusedField("changes", error.message);
    throw error;
  }
}

function refusedField(field: string, problem: string): Refused {
  return new Refused("bad_request", problem, [{ field, problem }]);
}
