// Keeps the waiting edits in the store: soon while offline, and a little later while they are about to be sent anyway.

import { type OfflineStore, QueueLost, type SavedQueue, type TakenQueue } from "./store.ts";

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
  readonly #store: OfflineStore;
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

  /** The queue to work with: one that was left behind, or else a new one. */
  async take(): Promise<TakenQueue> {
    const abandoned = await this.#store.takeAbandoned(this.#workflowId);
    return this.#use(abandoned ?? (await this.#store.takeNew(this.#workflowId)));
  }

  /** Exchange the queue for one that was left behind, if there is one and this one is empty even then. */
  async exchange(isEmpty: () => boolean): Promise<TakenQueue | null> {
    const abandoned = await this.#store.takeAbandoned(this.#workflowId);
    if (abandoned === null) return null;
    await this.flush();
    const before = this.#taken;
    if (before === null || !isEmpty()) {
      await abandoned.release();
      return null;
    }
    this.#use(abandoned);
    void before.release();
    return abandoned;
  }

  async takeNew(): Promise<TakenQueue> {
    return this.#use(await this.#store.takeNew(this.#workflowId));
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
    await this.#taken?.release();
    this.#taken = null;
  }

  #use(taken: TakenQueue): TakenQueue {
    this.#taken = taken;
    this.#kept = taken.saved !== null;
    return taken;
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
