/** What can be written at a place in an expression, found in the data that the node would see. */

/** What expressions see, by name, as far as it is known before a run. */
export type Data = Readonly<Record<string, unknown>>;

export interface Proposal {
  readonly label: string;
  /** The value, cut short; or what a filter does. */
  readonly detail: string;
  /** What is written, when that is not the label. */
  readonly apply?: string;
}

export interface Proposals {
  /** Where in the text the proposals begin. */
  readonly from: number;
  readonly options: readonly Proposal[];
}

const NAMES: Readonly<Record<string, string>> = {
  input: "what the node is given",
  inputs: "the same, by the node it came from",
  steps: "outputs of the nodes before",
  item: "in a loop: the item",
  index: "in a loop: its place",
  run: "the run itself",
  trigger: "what started it",
  workflow: "the workflow",
  vars: "variables",
};

const FILTERS: Readonly<Record<string, string>> = {
  default: "another value when there is none",
  first: "the first of a list",
  float: "as a number",
  int: "as a whole number",
  items: "pairs of an object",
  join: "a list as one text",
  last: "the last of a list",
  length: "how many",
  list: "as a list",
  lower: "in small letters",
  map: "one field of each",
  max: "the largest",
  min: "the smallest",
  replace: "other text instead",
  round: "rounded",
  selectattr: "those with a field that fits",
  sort: "sorted",
  split: "a text in parts",
  sum: "added up",
  title: "Each Word Capitalised",
  tojson: "as JSON text",
  trim: "without space around",
  unique: "without repetitions",
  upper: "in capital letters",
};

const TOKEN = /[\w.[\]'-]*$/;
const IDENTIFIER = /^[A-Za-z_]\w*$/;
const PART = /([A-Za-z_]\w*)|\[(\d+)\]|\['([^']*)'\]/g;
const MOST = 200;
const DETAIL = 48;

/** Proposals at a position; null where nothing is to be proposed. In a template only what is within braces counts. */
export function proposalsAt(text: string, position: number, data: Data, isTemplate: boolean): Proposals | null {
  const before = text.slice(0, position);
  const begin = isTemplate ? before.lastIndexOf("{{") : 0;
  if (begin < 0 || (isTemplate && before.indexOf("}}", begin) >= 0)) return null;
  const inside = before.slice(isTemplate ? begin + 2 : 0);
  if (/'[^']*$/.test(inside.replace(/'[^']*'/g, ""))) return null; // within a text
  const token = TOKEN.exec(inside)?.[0] ?? "";
  const lead = inside.slice(0, inside.length - token.length).trimEnd();
  if (lead.endsWith("|")) return { from: position - token.length, options: named(FILTERS) };
  const dot = token.lastIndexOf(".");
  if (dot < 0) return { from: position - token.length, options: topLevel(data) };
  const value = valueAt(token.slice(0, dot), data);
  const from = position - (token.length - dot - 1);
  return { from, options: members(value) };
}

function topLevel(data: Data): Proposal[] {
  return Object.entries(NAMES).map(([label, what]) => ({
    label,
    detail: data[label] === undefined ? what : short(data[label]),
  }));
}

function named(words: Readonly<Record<string, string>>): Proposal[] {
  return Object.entries(words).map(([label, detail]) => ({ label, detail }));
}

function members(value: unknown): Proposal[] {
  if (Array.isArray(value)) return [];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value)
    .filter(([label]) => IDENTIFIER.test(label))
    .slice(0, MOST)
    .map(([label, member]) => ({ label, detail: short(member) }));
}

/** The value at a path like `steps.fetch.output['x y'][0]`; undefined when it leads nowhere. */
export function valueAt(path: string, data: Data): unknown {
  let value: unknown = data;
  for (const [, name, index, quoted] of path.matchAll(PART)) {
    if (typeof value !== "object" || value === null) return undefined;
    const key = index ?? name ?? quoted ?? "";
    value = Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
  }
  return value;
}

export function short(value: unknown): string {
  const text = JSON.stringify(value) ?? "";
  return text.length > DETAIL ? `${text.slice(0, DETAIL - 1)}…` : text;
}
