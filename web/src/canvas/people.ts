/** What others show of themselves. Their state is whatever their client sends, so nothing about it is taken for granted. */
import type { Path, Peer } from "../collab";
import type { Place } from "./graph";
import { reusing } from "./store";

export interface Person {
  readonly peer: string;
  readonly name: string;
  readonly color: string;
}

export interface Cursor extends Person {
  readonly at: Place;
}

export interface People {
  readonly all: readonly Person[];
  readonly cursors: readonly Cursor[];
  /** Who has selected a node. */
  readonly selecting: ReadonlyMap<string, readonly Person[]>;
  /** Who is in a field, by `fieldKey`. */
  readonly typing: ReadonlyMap<string, readonly Person[]>;
  /** Where a node is that somebody drags. */
  readonly dragged: ReadonlyMap<string, Place>;
}

export const NOBODY: People = {
  all: [],
  cursors: [],
  selecting: new Map(),
  typing: new Map(),
  dragged: new Map(),
};

const MOST_SELECTED = 200;

export function peopleOf(peers: ReadonlyMap<string, Peer>, before: People = NOBODY): People {
  const all: Person[] = [];
  const cursors: Cursor[] = [];
  const selecting = new Map<string, Person[]>();
  const typing = new Map<string, Person[]>();
  const dragged = new Map<string, Place>();
  for (const [peer, { name, color, state }] of peers) {
    const person = { peer, name, color: safeColor(color) };
    all.push(person);
    const at = placeOf(state.cursor);
    if (at) cursors.push({ ...person, at });
    const chosen = Array.isArray(state.selection) ? state.selection.slice(0, MOST_SELECTED) : [];
    for (const id of chosen) if (typeof id === "string") push(selecting, id, person);
    const field = fieldOf(state.field);
    if (field) push(typing, field, person);
    for (const [id, place] of Object.entries(isObject(state.dragging) ? state.dragging : {})) {
      const held = placeOf(place);
      if (held) dragged.set(id, held);
    }
  }
  return {
    all: alike(before.all, all) ? before.all : all,
    cursors,
    selecting: reusing<readonly Person[]>(before.selecting, selecting, alike),
    typing: reusing<readonly Person[]>(before.typing, typing, alike),
    dragged: reusing(before.dragged, dragged, (left, right) => left.x === right.x && left.y === right.y),
  };
}

export function fieldKey(id: string, path: Path): string {
  return JSON.stringify([id, ...path]);
}

function fieldOf(value: unknown): string | null {
  if (!isObject(value) || typeof value.id !== "string" || !Array.isArray(value.path)) return null;
  return fieldKey(value.id, value.path as Path);
}

function placeOf(value: unknown): Place | null {
  if (!isObject(value)) return null;
  const { x, y } = value;
  return typeof x === "number" && typeof y === "number" && Number.isFinite(x) && Number.isFinite(y) ? { x, y } : null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The colour goes into styles. */
function safeColor(color: string): string {
  return /^(#[0-9a-f]{3,8}|hsl\([\d\s.,%deg]+\))$/i.test(color) ? color : "#5b5bd6";
}

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  map.set(key, [...(map.get(key) ?? []), value]);
}

function alike(left: readonly Person[], right: readonly Person[]): boolean {
  return (
    left.length === right.length &&
    left.every(({ peer, name, color }, index) => {
      const other = right[index];
      return other?.peer === peer && other.name === name && other.color === color;
    })
  );
}
