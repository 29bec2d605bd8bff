/** One of several things to choose from. */
export interface Choice {
  readonly key: string;
  readonly title: string;
  readonly detail?: string;
  /** Shown on the right: a group, or keys. */
  readonly aside?: string;
  /** More that it is found by. */
  readonly words?: string;
}

/** What fits a search, the best first: all of its words must be there, and a title counts more than the rest. */
export function found(choices: readonly Choice[], search: string): readonly Choice[] {
  const wanted = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (wanted.length === 0) return choices;
  return choices
    .map((choice) => ({ choice, rank: rank(choice, wanted) }))
    .filter(({ rank }) => rank > 0)
    .sort((left, right) => right.rank - left.rank)
    .map(({ choice }) => choice);
}

function rank({ title, detail = "", aside = "", words = "" }: Choice, wanted: readonly string[]): number {
  const name = title.toLowerCase();
  const rest = `${detail} ${aside} ${words}`.toLowerCase();
  let total = 0;
  for (const word of wanted) {
    const one = name.startsWith(word)
      ? 4
      : new RegExp(`\\b${escaped(word)}`).test(name)
        ? 3
        : name.includes(word)
          ? 2
          : 0;
    const other = one || (rest.includes(word) ? 1 : 0);
    if (other === 0) return 0;
    total += other;
  }
  return total;
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
