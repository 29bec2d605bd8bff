// Somebody else's edit comes before one's own: what still waits is rewritten so that it means the same afterwards.

import type { ChangeSet } from "@codemirror/state";
import { apply, replay } from "./apply.ts";
import { Refused } from "./check.ts";
import { edgesAt } from "./edges.ts";
import { type FieldKey, fieldsToType, keyText, overwrites, renamedField, typesIn } from "./fields.ts";
import type { Graves } from "./graves.ts";
import type { Renaming } from "./names.ts";
import type { Operation } from "./operations.ts";
import { type Pending, replaceOps } from "./queue.ts";
import { type DraftState, Working } from "./state.ts";
import { avoidTakenIds, renamingOf, rewriteFrom } from "./taken_ids.ts";
import { changed, difference, readChanges, textAt, writeChanges } from "./text.ts";
import { forgetFulfilled, wishFor } from "./wishes.ts";

/** What one typed into a text that somebody replaced as a whole meanwhile: it is kept for copying. */
export type LostText = {
  readonly id: string;
  readonly path: FieldKey["path"];
  readonly yours: string;
  readonly theirs: string;
};

/** What happened on the way, for whoever shows it. */
export class Findings {
  /** Changes of texts as one sees them, by field; they end where one's own edits hide them. */
  readonly texts = new Map<string, ChangeSet[]>();
  readonly lost: LostText[] = [];
  /** Nodes that others renamed, and one's own new ones that had to take another id. */
  readonly renamings: Renaming[] = [];

  noteText(key: FieldKey, changes: ChangeSet): void {
    const text = keyText(key);
    this.texts.set(text, [...(this.texts.get(text) ?? []), changes]);
  }
}

/** What one saw before, and what has been removed. */
export type Surroundings = { readonly view: DraftState; readonly graves: Graves };

/**
 * Apply a committed operation of somebody else, and take it into account in what waits.
 */
export function follow(
  work: Working,
  pending: Pending[],
  op: Operation,
  { view, graves }: Surroundings,
  findings: Findings,
): void {
  const waiting = pending.flatMap((entry) => entry.ops);
  const fields = fieldsToType(waiting).map((key) => {
    return { key, before: textAt(work, key.id, key.path) ?? graves.textAt(key) };
  });
  const wish = wishFor(work, op);
  const renaming = op.op === "node.rename" ? renamingOf(op.id, op.to, edgesAt(work, op.id)) : null;
  replay(work, [op]);
  if (renaming !== null) {
    rewriteFrom(pending, 0, 0, renaming);
    findings.renamings.push(renaming);
  }
  if (wish !== null) forgetFulfilled(pending, wish);
  if (op.op === "text.edit") {
    carry(pending, op, readChanges(op.changes), findings);
    return;
  }
  for (const { key, before } of fields) {
    const now = renaming !== null && key.id === renaming.from ? { ...key, id: renaming.to } : key;
    loseWhenReplaced(pending, now, before, textAt(work, now.id, now.path), findings);
  }
  findings.renamings.push(...avoidTakenIds(work, pending, view));
}

/** One's typing in a field is lost when its text has become another one in some other way than by typing. */
export function loseWhenReplaced(
  pending: Pending[],
  field: FieldKey,
  before: string | null,
  after: string | null,
  findings: Findings,
): void {
  if (before === null || after === null || before === after) return;
  let key = field;
  let yours = before;
  let hidden = false;
  for (const entry of pending) {
    const kept = entry.ops.filter((op) => {
      hidden = hidden || overwrites(op, key);
      key = renamedField(key, op);
      if (hidden || !typesIn(op, key)) return true;
      yours = typed(yours, op, key);
      return false;
    });
    replaceOps(entry, kept);
  }
  if (yours !== before) findings.lost.push({ ...key, yours, theirs: after });
}

/** The text after one's own typing; as it was where that does not fit, for then it was not to be seen either. */
function typed(text: string, op: Operation, key: FieldKey): string {
  if (!typesIn(op, key)) return text;
  const changes = readChanges(op.changes);
  return changes.length === text.length ? changed(text, changes) : text;
}

/**
 * One's own edit was refused: what waits behind it was made on a draft that had it, and is rewritten for one that has
 * not.
 */
export function withdraw(
  refused: Pending,
  rest: Pending[],
  { confirmed, graves }: { readonly confirmed: DraftState; readonly graves: Graves },
  findings: Findings,
): void {
  const fields = fieldsToType(rest.flatMap((entry) => entry.ops));
  const seen = new Working(confirmed);
  for (const { id } of fields) {
    const removed = seen.nodes.has(id) ? null : graves.node(id);
    if (removed !== null) seen.putNode(removed);
  }
  const left = fields.map((key) => ({ key, text: textAt(seen, key.id, key.path) }));
  if (!applies(seen, refused.ops)) return; // it was not to be seen
  for (const op of [...refused.ops].reverse()) {
    if (op.op !== "node.rename") continue;
    const renaming = renamingOf(op.to, op.id, edgesAt(seen, op.to));
    rewriteFrom(rest, 0, 0, renaming);
    findings.renamings.push(renaming);
  }
  for (const { key, text } of left) {
    const { id } = refused.ops.reduce(renamedField, key);
    const shown = textAt(seen, id, key.path);
    if (text !== null && shown !== null && shown !== text) carry(rest, key, difference(shown, text), findings);
  }
}

function applies(work: Working, ops: readonly Operation[]): boolean {
  try {
    apply(work, ops);
    return true;
  } catch (error) {
    if (error instanceof Refused) return false;
    throw error;
  }
}

/** Map one's own typing over somebody else's, and theirs over one's own, until an own edit overwrites the field. */
function carry(pending: Pending[], field: FieldKey, theirs: ChangeSet, findings: Findings): void {
  let key: FieldKey = { id: field.id, path: field.path };
  let changes = theirs;
  let hidden = false;
  const carried = (op: Operation): Operation => {
    hidden = hidden || overwrites(op, key);
    if (!hidden) key = renamedField(key, op);
    if (hidden || !typesIn(op, key)) return op;
    const own = readChanges(op.changes);
    hidden = own.length !== changes.length;
    if (hidden) return op;
    const after = own.map(changes);
    changes = changes.map(own, true);
    return { ...op, changes: writeChanges(after) };
  };
  for (const entry of pending) replaceOps(entry, entry.ops.map(carried));
  if (!hidden) findings.noteText(key, changes);
}
