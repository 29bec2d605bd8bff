// Undo and redo of one's own edits, among the edits of others.
//
// A step holds the operations that undo it. They fit the draft as it is once all later steps of one's own have been
// undone: that is the only order in which they are used. What others do is worked in as it comes.

import type { ChangeSet } from "@codemirror/state";
import { type FieldKey, overwrites, typedFields, typesIn } from "./fields.ts";
import type { Author, EditFrame } from "./frames.ts";
import { equal, type Json } from "./json.ts";
import { type Renaming, renamed } from "./names.ts";
import type { Operation, TextEdit } from "./operations.ts";
import { getAt, type Path } from "./paths.ts";
import { mergedOps, type Pending, shapeOf } from "./queue.ts";
import { difference, readChanges, writeChanges, writesInside } from "./text.ts";
import { touching } from "./touches.ts";

/** An edit of somebody else that builds on one's own. */
export type Other = { readonly seq: number; readonly by: Author | null; readonly at: string };

export type Step = {
  inverse: Operation[];
  readonly label: string | undefined;
  /** The places it wrote to, when a later edit of the same places may join it. */
  readonly shape: string | null;
  /** When it was last added to, in milliseconds. */
  at: number;
  /** How many edits it undoes. */
  edits: number;
  /** The edit, until the server has confirmed it: others' edits still come before it. */
  pending: Pending | null;
  others: Other[];
};

export type Stack = "undo" | "redo";

/** Edits of the same places at most so many milliseconds apart are undone together. */
const TOGETHER_MS = 1_000;
const MOST_STEPS = 500;

export class History {
  undo: Step[] = [];
  redo: Step[] = [];

  /** A new edit of the user: it cannot be redone any more what was undone before. */
  record(step: Omit<Step, "shape" | "edits" | "others">, ops: readonly Operation[]): void {
    this.redo = [];
    const shape = shapeOf(ops);
    const last = this.undo.at(-1);
    const both = last !== undefined && joins(last, shape, step.at) ? joined(step.inverse, last.inverse) : null;
    if (last !== undefined && both !== null) {
      last.inverse = both;
      last.at = step.at;
      last.edits += 1;
      return;
    }
    this.push("undo", { ...step, shape, edits: 1, others: [] });
  }

  push(stack: Stack, step: Step): void {
    this[stack].push(step);
    if (this[stack].length > MOST_STEPS) this[stack].shift();
  }

  /** Fields with steps that type in them: their changes must be told to `textChanged`. */
  typedFields(): FieldKey[] {
    return typedFields(this.#steps().flatMap((step) => step.inverse));
  }

  /** The text of a field has changed under one's own steps, other than by an edit of one's own. */
  textChanged(key: FieldKey, changes: ChangeSet, by: Other | null, refused: readonly Pending[]): void {
    for (const stack of [this.undo, this.redo]) mapDown(upTo(stack, refused), key, changes, by);
  }

  /** The text was replaced while one typed in it: what one typed is not there to be undone. */
  forgetTyping(key: FieldKey): void {
    this.#keep((step) => !step.inverse.some((op) => typesIn(op, key)));
  }

  /** Others have committed an edit. Steps that the server has not confirmed come after it. */
  othersDid(ops: readonly Operation[], frame: EditFrame): void {
    for (const step of this.#steps()) {
      if (step.pending === null && touching(step.inverse, ops)) step.others.push(otherOf(frame));
    }
  }

  nodeRenamed(renaming: Renaming): void {
    for (const step of this.#steps()) step.inverse = step.inverse.map((op) => renamed(op, renaming));
  }

  /** The edits that wait have been applied anew: what undoes them may be something else now. */
  refresh(): void {
    for (const stack of [this.undo, this.redo]) {
      for (const [index, step] of stack.entries()) {
        const inverse = step.pending?.inverse;
        if (!inverse || step.edits > 1 || types(step.inverse) || types(inverse)) continue;
        if (equal(step.inverse as Json, inverse as Json)) continue;
        mapBelow(stack.slice(0, index), step.inverse, inverse);
        step.inverse = inverse;
      }
    }
    this.#keep((step) => step.pending === null || step.inverse.length > 0);
  }

  /** `inverse`: what undoes its operations one by one, as they were committed. */
  confirmed(pending: Pending, inverse: Operation[] | null): void {
    for (const step of this.#steps()) {
      if (step.pending !== pending) continue;
      step.pending = null;
      if (inverse === null || step.edits > 1 || types(step.inverse) || types(inverse)) continue;
      step.inverse = inverse;
    }
  }

  /** The edit will never be: there is nothing to undo. */
  refused(pending: Pending): void {
    this.#keep((step) => step.pending !== pending || step.edits > 1);
    this.confirmed(pending, null);
  }

  clear(): void {
    this.undo = [];
    this.redo = [];
  }

  #steps(): Step[] {
    return [...this.undo, ...this.redo];
  }

  #keep(kept: (step: Step) => boolean): void {
    this.undo = this.undo.filter(kept);
    this.redo = this.redo.filter(kept);
  }
}

export function otherOf({ seq, by, at }: EditFrame): Other {
  return { seq, by, at };
}

function types(ops: readonly Operation[]): boolean {
  return ops.some((op) => op.op === "text.edit");
}

/** Typing in one text is one step until something else is done; other edits join for a moment only. */
function joins(last: Step, shape: string | null, at: number): boolean {
  if (shape === null || shape !== last.shape || last.others.length > 0) return false;
  return types(last.inverse) || at - last.at < TOGETHER_MS;
}

/** What undoes the later and then the earlier of two edits of the same places; null when they do not fit. */
function joined(later: Operation[], earlier: Operation[]): Operation[] | null {
  const [second] = later;
  const [first] = earlier;
  if (first?.op !== "text.edit" || second?.op !== "text.edit") return earlier;
  return readChanges(second.changes).newLength === readChanges(first.changes).length ? mergedOps(later, earlier) : null;
}

/** A step now brings back other texts than it did: work the difference into those below it. */
function mapBelow(below: readonly Step[], before: readonly Operation[], after: readonly Operation[]): void {
  for (const key of typedFields(below.flatMap((step) => step.inverse))) {
    const [from, to] = [textSet(before, key), textSet(after, key)];
    if (from !== null && to !== null && from !== to) mapDown(below, key, difference(from, to), null);
  }
}

/** The text that the operations write to a field as a whole. */
function textSet(ops: readonly Operation[], key: FieldKey): string | null {
  const last = ops.findLast((op) => overwrites(op, key));
  if (last?.op === "node.add") return textIn(last as Json, key.path);
  return last?.op === "node.set" ? textIn(last.value, key.path.slice(last.path.length)) : null;
}

function textIn(value: Json, path: Path): string | null {
  const text = getAt(value, path);
  return typeof text === "string" ? text : null;
}

/** The steps above the last one whose edit was refused: below it the text is what it was. */
function upTo(stack: readonly Step[], refused: readonly Pending[]): readonly Step[] {
  const last = stack.findLastIndex((step) => step.pending !== null && refused.includes(step.pending));
  return stack.slice(last + 1);
}

/** Work changes of a text into the steps, from the last one down: each hands them on as they are below it. */
function mapDown(stack: readonly Step[], key: FieldKey, changes: ChangeSet, by: Other | null): void {
  let passing = changes;
  for (const step of [...stack].reverse()) {
    for (const [index, op] of step.inverse.entries()) {
      if (overwrites(op, key)) return;
      if (!typesIn(op, key)) continue;
      const own = readChanges(op.changes);
      if (own.length !== passing.length) return;
      if (by !== null && step.pending === null && writesInside(passing, own)) step.others.push(by);
      step.inverse = step.inverse.with(index, mapped(op, own.map(passing)));
      passing = passing.map(own, true);
    }
  }
}

function mapped(op: TextEdit, changes: ChangeSet): TextEdit {
  return { ...op, changes: writeChanges(changes) };
}
