// Texts that several people type in: strings, changed by CodeMirror's ChangeSets. Positions count UTF-16 units, and a
// line ends with "\n" and nothing else.

import { ChangeSet, Text } from "@codemirror/state";
import type { TextChanges } from "./operations.ts";
import { getAt, type Path } from "./paths.ts";
import type { DraftState } from "./state.ts";

/** The changes do not fit the text, or are none at all. */
export class BadChanges extends Error {}

export function readChanges(json: TextChanges): ChangeSet {
  try {
    return ChangeSet.fromJSON(json);
  } catch {
    throw new BadChanges("This is not the JSON form of a ChangeSet.");
  }
}

export function writeChanges(changes: ChangeSet): TextChanges {
  return changes.toJSON() as TextChanges;
}

export function textOf(value: string): Text {
  return Text.of(value.split("\n"));
}

export function changed(text: string, changes: ChangeSet): string {
  if (changes.length !== text.length) {
    throw new BadChanges(`The changes are made for ${changes.length} units of text, but there are ${text.length}.`);
  }
  return changes.apply(textOf(text)).sliceString(0, undefined, "\n");
}

/** The text at a path of a node; a missing one is empty. Null when the node is missing, or something else is there. */
export function textAt(state: Pick<DraftState, "nodes">, id: string, path: Path): string | null {
  const node = state.nodes.get(id);
  const value = node && getAt(node, path);
  if (node === undefined) return null;
  if (value === undefined) return "";
  return typeof value === "string" ? value : null;
}

/** The changes that make one text of another: one replacement, of what lies between a common beginning and end. */
export function difference(from: string, to: string): ChangeSet {
  const shorter = Math.min(from.length, to.length);
  let begin = 0;
  while (begin < shorter && from[begin] === to[begin]) begin += 1;
  if (begin > 0 && isHigh(from, begin - 1)) begin -= 1;
  let end = 0;
  while (end < shorter - begin && from[from.length - 1 - end] === to[to.length - 1 - end]) end += 1;
  if (end > 0 && isLow(from, from.length - end)) end -= 1;
  return replacement(from, begin, from.length - end, to.slice(begin, to.length - end));
}

export function replacement(text: string, from: number, to: number, insert: string): ChangeSet {
  return ChangeSet.of({ from, to, insert }, text.length, "\n");
}

/** Whether the changes write inside a range, or into what it replaces: touching its ends does not count. */
export function writesInside(changes: ChangeSet, range: ChangeSet): boolean {
  let inside = false;
  range.iterChangedRanges((from, to) => {
    changes.iterChangedRanges((otherFrom, otherTo) => {
      if (otherFrom < to && otherTo > from) inside = true;
    });
  });
  return inside;
}

function isHigh(text: string, index: number): boolean {
  return (text.charCodeAt(index) & 0xfc00) === 0xd800;
}

function isLow(text: string, index: number): boolean {
  return (text.charCodeAt(index) & 0xfc00) === 0xdc00;
}
