/** What edits were, in words. */
import type { Operation } from "../collab";

/** What a node is called now; its id when it is gone. */
type NameOf = (id: string) => string;

/** One edit, for who reads the history: what was done to what, the most telling operation first. */
export function editText(ops: readonly Operation[], nameOf: NameOf = (id) => id): string {
  const [first] = ops;
  if (!first) return "Nothing";
  const kinds = new Set(ops.map(({ op }) => op));
  if (kinds.has("node.add")) return counted(ops, "node.add", "Added", nameOf);
  if (kinds.has("node.remove")) return counted(ops, "node.remove", "Deleted", nameOf);
  if (kinds.has("node.rename")) {
    const rename = ops.find((op) => op.op === "node.rename");
    return rename?.op === "node.rename" ? `Gave ${rename.id} the id ${rename.to}` : "";
  }
  if (sets(ops, "position")) return counted(ops, "node.set", "Moved", nameOf);
  if (sets(ops, "disabled"))
    return counted(ops, "node.set", first.op === "node.set" && first.value ? "Disabled" : "Enabled", nameOf);
  switch (first.op) {
    case "node.set":
      if (first.path[0] === "name") return `Renamed ${first.id} to “${first.value}”`;
      return `Changed ${fieldText(first.path)} of ${nameOf(first.id)}`;
    case "node.unset":
      return `Changed ${fieldText(first.path)} of ${nameOf(first.id)}`;
    case "text.edit":
      return `Wrote in ${fieldText(first.path)} of ${nameOf(first.id)}`;
    case "edge.add":
      return `Connected ${nameOf(first.source)} to ${nameOf(first.target)}`;
    case "edge.remove":
      return ops.length === 1 ? "Removed a connection" : `Removed ${ops.length} connections`;
    case "meta.set":
      return `Changed the ${first.path.join(" ")}`;
    default:
      return "Replaced everything";
  }
}

/** Whether all of it sets this field of nodes. */
function sets(ops: readonly Operation[], field: string): boolean {
  return ops.every((op) => op.op === "node.set" && op.path[0] === field);
}

function counted(ops: readonly Operation[], kind: Operation["op"], verb: string, nameOf: NameOf): string {
  const ids = [...new Set(ops.flatMap((op) => (op.op === kind && "id" in op && op.id ? [op.id] : [])))];
  return ids.length <= 2 ? `${verb} ${ids.map(nameOf).join(" and ")}` : `${verb} ${ids.length} nodes`;
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
export function grouped(edits: readonly HistoryEdit[], nameOf?: NameOf): HistoryGroup[] {
  const groups: HistoryGroup[] = [];
  for (const edit of edits) {
    const text = edit.reverts
      ? `Took back ${edit.reverts.length === 1 ? "an edit" : `${edit.reverts.length} edits`}`
      : editText(edit.ops, nameOf);
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
