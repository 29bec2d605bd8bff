// A draft that several people edit at the same time: the library's front door.

import type { Closed } from "./connection.ts";
import type { Definition } from "./definition.ts";
import type { Listener } from "./emitter.ts";
import type { DraftEvents } from "./events.ts";
import type { TextField } from "./field.ts";
import type { Gone, Peer, You } from "./frames.ts";
import type { Json, JsonObject } from "./json.ts";
import type { Operation } from "./operations.ts";
import type { Path } from "./paths.ts";
import type { Undone } from "./replica.ts";
import { type DraftOptions, Session } from "./session.ts";
import { type DraftState, definitionOf } from "./state.ts";

/**
 * `connecting`: nothing has been loaded yet. `saved`: the server has everything. `saving`: it is about to. `offline`:
 * edits are kept here and sent later. `closed`: the server does not want this client; see `closed`.
 */
export type Status = "connecting" | "saved" | "saving" | "offline" | "closed";

/** What there is to show. A new object after each change, made of the parts that have not changed. */
export type Snapshot = {
  readonly status: Status;
  /** How many of one's own edits the server has not confirmed. */
  readonly pending: number;
  /** Null until the draft has been loaded. Nodes and edges that have not changed are the same objects as before. */
  readonly definition: Definition | null;
  /** The same nodes and edges by their ids. */
  readonly nodes: DraftState["nodes"];
  readonly edges: DraftState["edges"];
  /** The last committed edit that is in `definition`. */
  readonly seq: number;
  readonly role: string | null;
  readonly you: You | null;
  readonly peers: ReadonlyMap<string, Peer>;
  readonly problems: readonly Json[];
  readonly canUndo: boolean;
  readonly canRedo: boolean;
  readonly closed?: Closed;
};

const NO_NODES: DraftState["nodes"] = new Map();
const NO_EDGES: DraftState["edges"] = new Map();

export function openDraft(options: DraftOptions): Draft {
  return new Draft(options);
}

export class Draft {
  readonly #options: DraftOptions;
  readonly #session: Session;
  readonly #subscribers = new Set<() => void>();
  #snapshot: Snapshot | null = null;
  #definition: { of: DraftState; is: Definition } | null = null;

  constructor(options: DraftOptions) {
    this.#options = options;
    this.#session = new Session(options, () => this.#changed());
  }

  // --- to be read

  /** For useSyncExternalStore: the same object until something changes. */
  readonly snapshot = (): Snapshot => {
    this.#snapshot ??= this.#snap();
    return this.#snapshot;
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#subscribers.add(listener);
    return () => this.#subscribers.delete(listener);
  };

  on<K extends keyof DraftEvents>(name: K, listener: Listener<DraftEvents[K]>): () => void {
    return this.#session.events.on(name, listener);
  }

  get canUndo(): boolean {
    return this.#session.replica.history.undo.length > 0;
  }

  get canRedo(): boolean {
    return this.#session.replica.history.redo.length > 0;
  }

  /** What one shows of oneself. */
  get presence(): JsonObject {
    return this.#session.presence.state;
  }

  // --- to be done

  /**
   * Make an edit, all or nothing. It is shown at once, kept, and sent when there is a connection. False when it was
   * refused at once; the event `refused` says why, as it does when the server refuses it later.
   */
  edit(ops: readonly Operation[], label?: string): boolean {
    return this.#session.replica.edit(ops, { label });
  }

  /** Undo one's own last edit. When others have built on it, they are only told (`asked`); with `force` it is done. */
  undo({ force = false } = {}): Undone {
    return this.#session.replica.step("undo", force);
  }

  redo({ force = false } = {}): Undone {
    return this.#session.replica.step("redo", force);
  }

  /** A text of a node, for any number of editors. */
  text(id: string, path: Path): TextField {
    return this.#session.replica.text(id, path);
  }

  /** Change what others see of oneself, at most 4 KiB of JSON: keys not named stay, null or undefined takes one away. */
  setPresence(patch: { readonly [key: string]: Json | undefined }): void {
    this.#session.presence.set(patch);
  }

  /** Bring back a node that an edit was refused for, with its edges. False when that is not possible. */
  async restore(gone: Pick<Gone, "id" | "seq">): Promise<boolean> {
    if (this.#session.replica.restore(gone.id)) return true;
    if (this.#options.revert === undefined) return false;
    await this.#options.revert(gone.seq);
    return true;
  }

  /** Try to connect now: to be called when the browser says that it is online again. */
  hurry(): void {
    this.#session.connection.hurry();
  }

  /** Write what waits to the store now: to be called when the page is about to go. */
  flush(): Promise<void> {
    return this.#session.keeper.flush();
  }

  /** Leave. What waits stays in the store, for whoever opens this draft next. */
  close(): Promise<void> {
    return this.#session.close({ code: 1000, reason: "Closed by this side." });
  }

  // --- inside

  #changed(): void {
    this.#snapshot = null;
    for (const subscriber of [...this.#subscribers]) subscriber();
  }

  #snap(): Snapshot {
    const { replica, presence, role, you, problems, closed } = this.#session;
    const view = replica.view;
    return {
      status: this.#status(),
      pending: replica.queue.size,
      definition: view && this.#definitionOf(view),
      nodes: view?.nodes ?? NO_NODES,
      edges: view?.edges ?? NO_EDGES,
      seq: replica.seq,
      role,
      you,
      peers: presence.peers,
      problems,
      canUndo: this.canUndo,
      canRedo: this.canRedo,
      ...(closed === null ? {} : { closed }),
    };
  }

  #status(): Status {
    const { closed, joined, replica } = this.#session;
    if (closed !== null) return "closed";
    if (joined) return replica.queue.size > 0 ? "saving" : "saved";
    return replica.view === null ? "connecting" : "offline";
  }

  #definitionOf(view: DraftState): Definition {
    if (this.#definition?.of !== view) this.#definition = { of: view, is: definitionOf(view) };
    return this.#definition.is;
  }
}
