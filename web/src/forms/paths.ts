import type { Problem } from "../api/errors";

/** A place within a value: keys of objects and indices of lists. */
export type Path = readonly (string | number)[];

/** A path as the API writes it in problems: `conditions[0].expression`. */
export function pathText(path: Path): string {
  return path
    .map((part) => (typeof part === "number" ? `[${part}]` : `.${part}`))
    .join("")
    .replace(/^\./, "");
}

/** The value with another one at a path; `undefined` takes the key or the list's entry away. */
export function setAt(value: unknown, path: Path, wanted: unknown): unknown {
  const [first, ...rest] = path;
  if (first === undefined) return wanted;
  if (typeof first === "number") {
    const list = Array.isArray(value) ? [...value] : [];
    const entry = setAt(list[first], rest, wanted);
    if (entry === undefined) list.splice(first, 1);
    else list[first] = entry;
    return list;
  }
  const object = { ...(isObject(value) ? value : {}) };
  const entry = setAt(object[first], rest, wanted);
  if (entry === undefined) delete object[first];
  else object[first] = entry;
  return object;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The problems of one part of a body, by their paths within it: those of `config.url` for `config` under `url`. */
export function problemsUnder(prefix: string, details: readonly Problem[]): ReadonlyMap<string, string> {
  const under = details.filter(({ field }) => field.startsWith(`${prefix}.`) || field.startsWith(`${prefix}[`));
  return new Map(under.map(({ field, problem }) => [field.slice(prefix.length).replace(/^\./, ""), problem]));
}
