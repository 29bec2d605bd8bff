// Places inside a JSON value: a string is the key of an object, a number the index of a list.

import { isList, isObject, type Json, type JsonObject, memberOf, withKey, withoutKey } from "./json.ts";

export type Path = readonly (string | number)[];

/** The path leads through something that has no such place. */
export class NoSuchPlace extends Error {}

export function getAt(value: Json | undefined, path: Path): Json | undefined {
  let here = value;
  for (const step of path) {
    if (typeof step === "number") here = isList(here) ? here[step] : undefined;
    else here = isObject(here) ? memberOf(here, step) : undefined;
  }
  return here;
}

/**
 * The value with another one at `path`. Objects on the way are made when they are missing; an index must exist or be
 * the list's length, which appends. Raises NoSuchPlace for anything else.
 */
export function setAt(value: Json | undefined, path: Path, next: Json): Json {
  const [step, ...rest] = path;
  if (step === undefined) return next;
  if (typeof step === "string") {
    const object = value === undefined ? {} : value;
    if (!isObject(object)) throw new NoSuchPlace(`${JSON.stringify(step)} is not inside an object.`);
    return withKey(object, step, setAt(memberOf(object, step), rest, next));
  }
  if (!isList(value) || !Number.isInteger(step) || step < 0 || step > value.length) {
    throw new NoSuchPlace(`There is no element ${step} of a list.`);
  }
  const copy = [...value];
  copy[step] = setAt(value[step], rest, next);
  return copy;
}

/**
 * The value without what is at `path`; the very same value when nothing is there. Elements of a list move up. Raises
 * NoSuchPlace when the path leads through something that is no object or list.
 */
export function unsetAt(value: Json, path: Path): Json {
  const [step, ...rest] = path;
  if (step === undefined) return value;
  const fits = typeof step === "string" ? isObject(value) : isList(value);
  if (!fits) throw new NoSuchPlace(`${JSON.stringify(step)} leads into something that has no parts.`);
  const inner = getAt(value, [step]);
  if (inner === undefined) return value;
  if (rest.length > 0) {
    const changed = unsetAt(inner, rest);
    return changed === inner ? value : setAt(value, [step], changed);
  }
  return isList(value) ? value.filter((_, index) => index !== step) : withoutKey(value as JsonObject, step as string);
}

/** The shortest beginning of `path` at which nothing is, or null when all of it is there. */
export function firstMissing(value: Json | undefined, path: Path): Path | null {
  for (let length = 1; length <= path.length; length += 1) {
    const begin = path.slice(0, length);
    if (getAt(value, begin) === undefined) return begin;
  }
  return null;
}

export function isPrefix(prefix: Path, path: Path): boolean {
  return prefix.length <= path.length && prefix.every((step, index) => step === path[index]);
}

/** Two paths touch each other when one is a prefix of the other. */
export function overlap(left: Path, right: Path): boolean {
  return isPrefix(left, right) || isPrefix(right, left);
}
