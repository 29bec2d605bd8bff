// Where edits that wait are kept, so that they survive a reload.

import type { SentDefinition } from "./definition.ts";
import type { SavedPending, Sent } from "./queue.ts";

/** One queue, as it is kept. */
export type SavedQueue = {
  readonly nextId: number;
  readonly sent: Sent | null;
  readonly entries: readonly SavedPending[];
  /** The confirmed texts that waiting edits type in, by field: with another text they cannot be sent. */
  readonly texts: readonly (readonly [string, string])[];
  /** The confirmed draft below them; kept while offline, so that the draft can be opened without the server. */
  readonly base: { readonly seq: number; readonly state: SentDefinition } | null;
};

/** The queue was given to another tab, because this one had been silent for too long. */
export class QueueLost extends Error {}

/** A queue that nobody else has until it is released. `client` is the text that names it to the server. */
export interface TakenQueue {
  readonly client: string;
  readonly saved: SavedQueue | null;
  /** Keep the queue; null when nothing waits any more. Raises QueueLost. */
  save(queue: SavedQueue | null): Promise<void>;
  release(): Promise<void>;
}

export interface OfflineStore {
  /** A queue of this draft that was left behind with edits in it, or else null. */
  takeAbandoned(workflowId: string): Promise<TakenQueue | null>;
  /** A new queue, under a new client text. */
  takeNew(workflowId: string): Promise<TakenQueue>;
}

/** A random text of 128 bits. */
export function randomText(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Keeps queues as long as the process lives: for programs, and for tests. */
export class MemoryStore implements OfflineStore {
  readonly #queues = new Map<string, { workflowId: string; text: string }>();
  readonly #taken = new Set<string>();

  takeAbandoned(workflowId: string): Promise<TakenQueue | null> {
    for (const [client, kept] of this.#queues) {
      if (kept.workflowId === workflowId && !this.#taken.has(client)) {
        return Promise.resolve(this.#take(workflowId, client, JSON.parse(kept.text) as SavedQueue));
      }
    }
    return Promise.resolve(null);
  }

  takeNew(workflowId: string): Promise<TakenQueue> {
    return Promise.resolve(this.#take(workflowId, randomText(), null));
  }

  #take(workflowId: string, client: string, saved: SavedQueue | null): TakenQueue {
    this.#taken.add(client);
    return {
      client,
      saved,
      save: async (queue) => {
        if (queue === null) this.#queues.delete(client);
        else this.#queues.set(client, { workflowId, text: JSON.stringify(queue) });
      },
      release: async () => {
        this.#taken.delete(client);
      },
    };
  }
}
