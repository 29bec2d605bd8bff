// The texts that somebody listens to, and how what was done to the draft is told as changes of texts.

import type { ChangeSet } from "@codemirror/state";
import { TextField, type TextHost } from "./field.ts";
import { type FieldKey, keyText, sameField } from "./fields.ts";
import type { Operation } from "./operations.ts";
import type { Path } from "./paths.ts";
import type { Findings } from "./rebase.ts";
import { changed, difference, readChanges } from "./text.ts";

/** Changes of texts as somebody has typed them, by field. */
export type Typed = ReadonlyMap<string, ChangeSet>;

export class TextFields {
  readonly watched = new Set<TextField>();
  readonly #host: TextHost;

  constructor(host: TextHost) {
    this.#host = host;
  }

  /** The field that is listened to, or else a new one. */
  field(id: string, path: Path): TextField {
    const known = [...this.watched].find((field) => sameField(field, { id, path }));
    return known ?? new TextField(this.#host, id, path);
  }

  /** The draft has changed: tell those who listen what that means for their text. */
  tell(typed: Typed, origin: unknown): void {
    for (const field of [...this.watched]) {
      const changes = changesOf(field, field.known, field.value, typed);
      if (changes !== null) field.noteChange({ changes, origin });
    }
  }

  follow(from: string, to: string): void {
    for (const field of this.watched) if (field.id === from) field.id = to;
  }
}

/** How a text has changed: exactly as somebody typed, or else as one replacement. Null when it has not. */
export function changesOf(key: FieldKey, from: string, to: string, typed: Typed): ChangeSet | null {
  if (from === to) return null;
  const known = typed.get(keyText(key));
  const leads = known !== undefined && known.length === from.length && changed(from, known) === to;
  return leads ? known : difference(from, to);
}

/** What one has typed oneself, when that is all there is to an edit. */
export function typedBy(ops: readonly Operation[]): Typed {
  const [op] = ops;
  return ops.length === 1 && op?.op === "text.edit" ? new Map([[keyText(op), readChanges(op.changes)]]) : new Map();
}

/** What others have typed: the changes of each field as one, as far as they follow each other. */
export function typedByOthers(findings: Findings): Typed {
  const typed = new Map<string, ChangeSet>();
  for (const [key, [first, ...more]] of findings.texts) {
    if (first === undefined) continue;
    let all = first;
    for (const changes of more) if (all.newLength === changes.length) all = all.compose(changes);
    typed.set(key, all);
  }
  return typed;
}
