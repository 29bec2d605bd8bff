// What undoes an operation, seen from the state right before it.
//
// A text that an edit changes and touches otherwise as well is put back as a whole: what undoes the edit touches it
// otherwise too, and the server refuses changes of a text that was touched after their version.

import { edgesAt } from "./edges.ts";
import type { Json } from "./json.ts";
import type { NodeSet, NodeUnset, Operation, TextEdit } from "./operations.ts";
import { firstMissing, getAt, type Path } from "./paths.ts";
import { definitionOf, type Working } from "./state.ts";
import { readChanges, textAt, textOf, writeChanges } from "./text.ts";
import { touching } from "./touches.ts";

/** `edit`: the operations of the edit that it is part of. */
export function inverseOf(work: Working, op: Operation, edit: readonly Operation[] = []): Operation[] {
  switch (op.op) {
    case "node.add":
      return [{ op: "node.remove", id: op.id }];
    case "node.remove":
      return returning(work, op.id);
    case "node.rename":
      return [{ op: "node.rename", id: op.to, to: op.id }];
    case "node.set":
      return [beforeSet(work, op)];
    case "node.unset":
      return beforeUnset(work, op);
    case "text.edit":
      return [touching([op], edit) ? beforeSet(work, op) : beforeTyping(work, op)];
    case "edge.add":
      return op.id === undefined ? [] : [{ op: "edge.remove", id: op.id }];
    case "edge.remove": {
      const edge = work.edges.get(op.id);
      return edge === undefined ? [] : [{ op: "edge.add", ...edge }];
    }
    case "meta.set": {
      const meta = { settings: work.settings, notes: work.notes };
      const path = existing(meta, op.path);
      return [{ op: "meta.set", path, value: getAt(meta, path) as Json }];
    }
    case "draft.replace":
      return [{ op: "draft.replace", definition: definitionOf(work.state()) }];
  }
}

/** The operations that bring a node back, with the edges it has now. */
export function returning(state: Pick<Working, "nodes" | "edges">, id: string): Operation[] {
  const node = state.nodes.get(id);
  if (node === undefined) return [];
  return [{ op: "node.add", ...node }, ...edgesAt(state, id).map((edge) => ({ op: "edge.add", ...edge }) as const)];
}

function beforeSet(work: Working, op: Pick<NodeSet, "id" | "path">): Operation {
  const node = work.nodes.get(op.id);
  const missing = firstMissing(node, op.path);
  if (missing !== null) return { op: "node.unset", id: op.id, path: missing };
  return { op: "node.set", id: op.id, path: op.path, value: getAt(node, op.path) as Json };
}

/** An element is put back into a list by writing the whole list: nothing else inserts. */
function beforeUnset(work: Working, op: NodeUnset): Operation[] {
  const node = work.nodes.get(op.id);
  if (firstMissing(node, op.path) !== null) return [];
  const path = typeof op.path.at(-1) === "number" ? op.path.slice(0, -1) : op.path;
  return [{ op: "node.set", id: op.id, path, value: getAt(node, path) as Json }];
}

function beforeTyping(work: Working, op: TextEdit): Operation {
  const text = textAt(work, op.id, op.path) ?? "";
  const inverse = readChanges(op.changes).invert(textOf(text));
  return { op: "text.edit", id: op.id, path: op.path, changes: writeChanges(inverse) };
}

/** The longest beginning of the path at which something is. */
function existing(value: Json, path: Path): Path {
  const missing = firstMissing(value, path);
  return missing === null ? path : missing.slice(0, -1);
}
