// Keeps the waiting edits in the store: soon while offline, and a little later while they are about to be sent anyway.
// A store that fails (a private window, a full disk) is told of, and editing goes on without it.

import { MemoryStore, type OfflineStore, QueueLost, type SavedQueue, type TakenQueue } from "./store.ts";

const OFFLINE_MS = 20;
const ONLINE_MS = 250;

export interface KeeperEvents {
  /** What is to be kept now. */
  toKeep(): SavedQueue | null;
  /** Another tab has taken this queue over; its edits are not this tab's any more. */
  lost(): void;
  failed(error: unknown): void;
}

export class Keeper {
  #store: OfflineStore;
  readonly #workflowId: string;
  readonly #events: KeeperEvents;
  #taken: TakenQueue | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #kept = false;

  constructor(store: OfflineStore, workflowId: string, events: KeeperEvents) {
    this.#store = store;
    this.#workflowId = workflowId;
    this.#events = events;
  }

  /** A queue to work with: one that was left behind, or else a new one. It is not kept before `use`. */
  async take(): Promise<TakenQueue> {
    return (await this.takeAbandoned()) ?? this.takeNew();
  }

  async takeAbandoned(): Promise<TakenQueue | null> {
    try {
      return await this.#store.takeAbandoned(this.#workflowId);
    } catch (error) {
      this.#events.failed(error);
      return null;
    }
  }

  async takeNew(): Promise<TakenQueue> {
    try {
      return await this.#store.takeNew(this.#workflowId);
    } catch (error) {
      this.#events.failed(error);
      this.#store = new MemoryStore();
      return this.takeNew();
    }
  }

  /** From now on `toKeep` is kept in this queue, and the one before is released. */
  use(taken: TakenQueue): void {
    const before = this.#taken;
    this.#taken = taken;
    this.#kept = taken.saved !== null;
    if (before !== null) void this.#release(before);
  }

  /** Something may have changed that must be kept. */
  note(offline: boolean): void {
    if (this.#taken === null) return;
    this.#timer ??= setTimeout(() => void this.flush(), offline ? OFFLINE_MS : ONLINE_MS);
  }

  /** Write now what is to be kept. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  async release(): Promise<void> {
    await this.flush();
    const taken = this.#taken;
    this.#taken = null;
    if (taken !== null) await this.#release(taken);
  }

  async #release(taken: TakenQueue): Promise<void> {
    try {
      await taken.release();
    } catch (error) {
      this.#events.failed(error);
    }
  }

  async #write(): Promise<void> {
    const queue = this.#events.toKeep();
    if (this.#taken === null || (queue === null && !this.#kept)) return;
    try {
      await this.#taken.save(queue);
      this.#kept = queue !== null;
    } catch (error) {
      if (error instanceof QueueLost) this.#events.lost();
      else this.#events.failed(error);
    }
  }
}
