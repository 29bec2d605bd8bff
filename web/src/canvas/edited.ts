/** What edits were, in words. */
import type { Operation } from "../collab";

/** One edit, for who reads the history: what was done to what, the most telling operation first. */
export function editText(ops: readonly Operation[]): string {
  const [first] = ops;
  if (!first) return "Nothing";
  const kinds = new Set(ops.map(({ op }) => op));
  if (kinds.has("node.add")) return counted(ops, "node.add", "Added");
  if (kinds.has("node.remove")) return counted(ops, "node.remove", "Deleted");
  if (kinds.has("node.rename")) {
    const rename = ops.find((op) => op.op === "node.rename");
    return rename?.op === "node.rename" ? `Gave ${rename.id} the id ${rename.to}` : "";
  }
  if (ops.every((op) => op.op === "node.set" && op.path[0] === "position")) return counted(ops, "node.set", "Moved");
  switch (first.op) {
    case "node.set":
    case "node.unset":
      return `Changed ${fieldText(first.path)} of ${first.id}`;
    case "text.edit":
      return `Wrote in ${fieldText(first.path)} of ${first.id}`;
    case "edge.add":
      return `Connected ${first.source} to ${first.target}`;
    case "edge.remove":
      return ops.length === 1 ? "Removed a connection" : `Removed ${ops.length} connections`;
    case "meta.set":
      return `Changed the ${first.path.join(" ")}`;
    default:
      return "Replaced everything";
  }
}

function counted(ops: readonly Operation[], kind: Operation["op"], verb: string): string {
  const ids = [...new Set(ops.flatMap((op) => (op.op === kind && "id" in op ? [op.id] : [])))];
  return ids.length <= 2 ? `${verb} ${ids.join(" and ")}` : `${verb} ${ids.length} nodes`;
}

function fieldText(path: readonly (string | number)[]): string {
  const [first, ...rest] = path;
  return first === "config" && rest.length > 0 ? rest.join(".") : path.join(".");
}

export interface HistoryEdit {
  readonly seq: number;
  readonly by: { readonly id: string | null; readonly name: string };
  readonly client: string;
  readonly at: string;
  readonly ops: readonly Operation[];
  readonly reverts: readonly number[] | null;
}

export interface HistoryGroup {
  readonly edits: readonly HistoryEdit[];
  readonly text: string;
}

const TOGETHER_MS = 60_000;

/** Edits of one person that do the same to the same place within a minute of each other are one entry. Newest first. */
export function grouped(edits: readonly HistoryEdit[]): HistoryGroup[] {
  const groups: HistoryGroup[] = [];
  for (const edit of edits) {
    const text = edit.reverts
      ? `Took back ${edit.reverts.length === 1 ? "an edit" : `${edit.reverts.length} edits`}`
      : editText(edit.ops);
    const last = groups.at(-1);
    const next = last?.edits.at(-1);
    if (
      last &&
      next &&
      last.text === text &&
      next.by.id === edit.by.id &&
      Date.parse(next.at) - Date.parse(edit.at) < TOGETHER_MS
    ) {
      groups[groups.length - 1] = { text, edits: [...last.edits, edit] };
    } else groups.push({ text, edits: [edit] });
  }
  return groups;
}
