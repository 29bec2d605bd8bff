// One's own edits that the server has not confirmed yet, in order. At most one frame is under way at a time: then the
// last committed id alone tells what has become of it, and nothing that depends on a refused edit is ever committed.

import { MOST_OPERATIONS } from "./check.ts";
import { keyText, overwrites, typedFields } from "./fields.ts";
import type { SentEditFrame } from "./frames.ts";
import type { Operation, TextEdit } from "./operations.ts";
import { readChanges, writeChanges } from "./text.ts";

/** A frame holds so many UTF-16 units of operations at most, unless one edit alone has more; 3 bytes each in UTF-8. */
const FULL_FRAME = 300_000;

/** One edit of the user. Its operations change while it waits: others' edits are taken into account. */
export type Pending = {
  ops: Operation[];
  readonly label: string | undefined;
  /** Goes in a frame of its own: a frame that held it together with others was refused. */
  alone: boolean;
  /** Was rewritten after it was sent: a refusal means what was sent, not this. */
  rewritten: boolean;
  /** How often it was refused for a reason that sending it again may heal. */
  tries: number;
  /** What undoes it on the state it was last applied to; null when it cannot be applied. */
  inverse: Operation[] | null;
};

/** Other operations for an edit that waits, because of what somebody else has done. */
export function replaceOps(entry: Pending, ops: Operation[]): void {
  if (ops.length === entry.ops.length && ops.every((op, index) => op === entry.ops[index])) return;
  entry.ops = ops;
  entry.rewritten = true;
}

/** The id under which the first `count` edits were sent. */
export type Sent = { readonly id: number; readonly count: number };

export type SavedPending = { readonly ops: readonly Operation[]; readonly label?: string; readonly alone: boolean };

export class Queue {
  entries: Pending[] = [];
  sent: Sent | null = null;
  nextId = 1;

  get size(): number {
    return this.entries.length;
  }

  /** All that waits, in order. */
  get operations(): Operation[] {
    return this.entries.flatMap((entry) => entry.ops);
  }

  /** Add an edit; the last one takes it up when that has not been sent and wrote to the same places. */
  add(ops: readonly Operation[], label: string | undefined, inverse: Operation[]): { entry: Pending; merged: boolean } {
    const last = this.entries.at(-1);
    const merged = last !== undefined && !this.isUnderWay(last) && !last.alone ? mergedOps(last.ops, ops) : null;
    if (last !== undefined && merged !== null && JSON.stringify(merged).length <= FULL_FRAME) {
      last.ops = merged;
      return { entry: last, merged: true };
    }
    const entry = { ops: [...ops], label, alone: false, rewritten: false, tries: 0, inverse };
    this.entries.push(entry);
    return { entry, merged: false };
  }

  isUnderWay(entry: Pending): boolean {
    return this.underWay().includes(entry);
  }

  underWay(): Pending[] {
    return this.entries.slice(0, this.sent?.count ?? 0);
  }

  /** The frame that is to be sent next, which is under way from now on; null when one is, or nothing waits. */
  next(seq: number): SentEditFrame | null {
    if (this.sent !== null) return null;
    const count = this.#fitting();
    if (count === 0) return null;
    this.sent = { id: this.nextId, count };
    this.nextId += 1;
    return this.again(seq);
  }

  /** The frame under way, to be sent (again): under its id, with its edits as they are by now. */
  again(seq: number): SentEditFrame | null {
    if (this.sent === null) return null;
    const ops = this.underWay().flatMap((entry) => {
      entry.rewritten = false;
      return entry.ops.map((op) => (op.op === "text.edit" ? { ...op, version: seq } : op));
    });
    return { type: "edit", id: this.sent.id, ops };
  }

  /** The edits under way are done with: confirmed, or refused for good. */
  settle(): Pending[] {
    const settled = this.entries.splice(0, this.sent?.count ?? 0);
    this.sent = null;
    return settled;
  }

  /** The edits under way go back to those that wait, to be sent under another id. */
  takeBack(): void {
    this.sent = null;
  }

  /** Forget waiting edits that have no operations left. Those under way stay until they are answered. */
  sweep(): void {
    const underWay = this.sent?.count ?? 0;
    this.entries = this.entries.filter((entry, index) => index < underWay || entry.ops.length > 0);
  }

  /** How many of the waiting edits go into one frame. */
  #fitting(): number {
    const taken: Operation[] = [];
    let units = 0;
    let count = 0;
    for (const entry of this.entries) {
      units += JSON.stringify(entry.ops).length;
      const full = taken.length + entry.ops.length > MOST_OPERATIONS || units > FULL_FRAME;
      if (count > 0 && (full || entry.alone || retypes(entry.ops, taken))) break;
      count += 1;
      if (entry.alone) break;
      taken.push(...entry.ops);
    }
    return count;
  }
}

/** Whether operations type in a field that earlier ones wrote to: the server takes such changes one by one. */
function retypes(ops: readonly Operation[], earlier: readonly Operation[]): boolean {
  const typed = new Set(typedFields(earlier).map(keyText));
  return typedFields(ops).some((key) => typed.has(keyText(key)) || earlier.some((op) => overwrites(op, key)));
}

/** One list of operations for two that wrote to the same places one after the other; null when they did not. */
export function mergedOps(first: readonly Operation[], second: readonly Operation[]): Operation[] | null {
  const shape = shapeOf(first);
  if (shape === null || shape !== shapeOf(second)) return null;
  return second.map((op, index) => (op.op === "text.edit" ? composed(first[index] as TextEdit, op) : op));
}

/** A text that is equal for two lists of operations of which the second makes the first superfluous, or null. */
export function shapeOf(ops: readonly Operation[]): string | null {
  if (ops.some((op) => op.op !== "node.set" && op.op !== "meta.set" && op.op !== "text.edit")) return null;
  if (ops.some((op) => op.op === "text.edit") && ops.length > 1) return null;
  return JSON.stringify(ops.map((op) => [op.op, "id" in op ? op.id : null, "path" in op ? op.path : null]));
}

function composed(first: TextEdit, second: TextEdit): TextEdit {
  return { ...second, changes: writeChanges(readChanges(first.changes).compose(readChanges(second.changes))) };
}
