// Which operations write to one field of a node.

import type { Operation, TextEdit } from "./operations.ts";
import { isPrefix, type Path } from "./paths.ts";

export type FieldKey = { readonly id: string; readonly path: Path };

export function keyText(key: FieldKey): string {
  return JSON.stringify([key.id, ...key.path]);
}

export function sameField(left: FieldKey, right: FieldKey): boolean {
  return left.id === right.id && keyText(left) === keyText(right);
}

export function typesIn(op: Operation, key: FieldKey): op is TextEdit {
  return op.op === "text.edit" && sameField(op, key);
}

/** Whether the operation decides alone what is in the field afterwards, whatever was there. */
export function overwrites(op: Operation, key: FieldKey): boolean {
  switch (op.op) {
    case "node.set":
    case "node.unset":
      return op.id === key.id && isPrefix(op.path, key.path);
    case "node.add":
    case "node.remove":
      return op.id === key.id;
    case "draft.replace":
      return true;
    default:
      return false;
  }
}

/** The fields that the operations type in, each once. */
export function typedFields(ops: Iterable<Operation>): FieldKey[] {
  const found = new Map<string, FieldKey>();
  for (const op of ops) if (op.op === "text.edit") found.set(keyText(op), { id: op.id, path: op.path });
  return [...found.values()];
}

/** The same, under the ids that the nodes have before the operations, which may rename them. */
export function fieldsToType(ops: readonly Operation[]): FieldKey[] {
  const before = new Map<string, string>();
  const typed = ops.map((op) => {
    if (op.op === "node.rename") before.set(op.to, before.get(op.id) ?? op.id);
    return op.op === "text.edit" ? { ...op, id: before.get(op.id) ?? op.id } : op;
  });
  return typedFields(typed);
}

/** The field after an operation, which may rename its node. */
export function renamedField(key: FieldKey, op: Operation): FieldKey {
  return op.op === "node.rename" && op.id === key.id ? { ...key, id: op.to } : key;
}
