// One text of a node that several people type in.

import type { ChangeSet } from "@codemirror/state";
import type { TextChanges } from "./operations.ts";
import type { Path } from "./paths.ts";
import { readChanges } from "./text.ts";

/** `origin` is what was given to `edit` by whoever typed; null for changes that come from elsewhere. */
export type TextChange = { readonly changes: ChangeSet; readonly origin: unknown };

export interface TextHost {
  /** Null when the node is not there, or something else than a text is at that place. */
  textAt(id: string, path: Path): string | null;
  type(field: TextField, changes: ChangeSet, origin: unknown): boolean;
  /** Fields that are watched are told of changes, and follow their node when it gets another id. */
  readonly watched: Set<TextField>;
}

export class TextField {
  /** Grows by one with each change of the text. */
  version = 0;
  readonly #host: TextHost;
  /** For the library: the text that the listeners know. */
  known = "";
  readonly #listeners = new Set<(change: TextChange) => void>();

  constructor(
    host: TextHost,
    /** The id of the node, which follows when the node gets another one. */
    public id: string,
    readonly path: Path,
  ) {
    this.#host = host;
  }

  get value(): string {
    return this.#host.textAt(this.id, this.path) ?? "";
  }

  /** Whether the node is there, and its field a text or missing. */
  get present(): boolean {
    return this.#host.textAt(this.id, this.path) !== null;
  }

  /**
   * Type: the changes must be made on `value` as it is now. False when that cannot be done (the node is gone, the
   * draft closed); the event `refused` says why.
   */
  edit(changes: ChangeSet | TextChanges, origin: unknown = null): boolean {
    return this.#host.type(this, "length" in changes && "apply" in changes ? changes : readChanges(changes), origin);
  }

  /** Hear of every change, with the changes to apply to what was there before. Answers how to stop hearing. */
  subscribe(listener: (change: TextChange) => void): () => void {
    if (this.#listeners.size === 0) this.known = this.value;
    this.#listeners.add(listener);
    this.#host.watched.add(this);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#host.watched.delete(this);
    };
  }

  /** For the library: the text has become another one. */
  noteChange(change: TextChange): void {
    this.version += 1;
    this.known = this.value;
    for (const listener of [...this.#listeners]) listener(change);
  }
}
