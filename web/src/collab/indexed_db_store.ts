// The offline store of browsers: one database, one record a queue.
//
// Two tabs never have one queue. Where there is `navigator.locks` (pages served over HTTPS, and localhost) a tab holds a
// lock with the queue's name as long as it lives, and the browser releases it when the tab is gone, however that
// happened. Elsewhere the record holds a lease: who has it, and until when. The lease is renewed every 30 s and runs out
// after 3 minutes, because browsers let the timers of hidden tabs wait for up to one. A tab that finds that its lease
// has run out and been taken gets QueueLost when it writes, and begins with a new queue.

import { type OfflineStore, QueueLost, randomText, type SavedQueue, type TakenQueue } from "./store.ts";

const LEASE_MS = 180_000;
const RENEW_MS = 30_000;
const STORE = "queues";

type Record = {
  readonly client: string;
  readonly workflowId: string;
  readonly queue: SavedQueue;
  readonly owner: string;
  readonly until: number;
};

export type IndexedDbOptions = {
  /** One database for each user: what one user has left behind must not be sent by another. */
  readonly database: string;
  readonly indexedDB?: IDBFactory;
  /** Null: use leases. */
  readonly locks?: LockManager | null;
};

export class IndexedDbStore implements OfflineStore {
  readonly #options: IndexedDbOptions;
  readonly #locks: LockManager | null;
  /** The name of this tab in leases. */
  readonly #owner = randomText();
  #database: Promise<IDBDatabase> | null = null;

  constructor(options: IndexedDbOptions) {
    this.#options = options;
    this.#locks = options.locks === undefined ? (globalThis.navigator?.locks ?? null) : options.locks;
  }

  async takeAbandoned(workflowId: string): Promise<TakenQueue | null> {
    const records = await this.#all();
    for (const { client } of records.filter((record) => record.workflowId === workflowId)) {
      const unlock = await this.#lock(client);
      if (unlock === null) continue;
      const record = await this.#lease(client);
      if (record !== null) return this.#taken(workflowId, client, record.queue, unlock);
      unlock();
    }
    return null;
  }

  async takeNew(workflowId: string): Promise<TakenQueue> {
    const client = randomText();
    const unlock = await this.#lock(client);
    return this.#taken(workflowId, client, null, unlock ?? (() => undefined));
  }

  #taken(workflowId: string, client: string, saved: SavedQueue | null, unlock: () => void): TakenQueue {
    const renewal = setInterval(() => void this.#renew(client), RENEW_MS);
    let kept = saved !== null;
    return {
      client,
      saved,
      save: async (queue) => {
        await this.#save(workflowId, client, queue, kept);
        kept = queue !== null;
      },
      release: async () => {
        clearInterval(renewal);
        await this.#change(client, (record) =>
          record?.owner === this.#owner ? { ...record, owner: "", until: 0 } : null,
        );
        unlock();
      },
    };
  }

  /** Answers what releases the lock; null when another tab has it. Without locks the lease has to do. */
  #lock(client: string): Promise<(() => void) | null> {
    const locks = this.#locks;
    if (locks === null) return Promise.resolve(() => undefined);
    return new Promise((resolve, reject) => {
      const hold = (lock: Lock | null) => {
        if (lock === null) {
          resolve(null);
          return undefined;
        }
        return new Promise<void>((unlock) => resolve(unlock));
      };
      locks.request(`mel-agent:queue:${client}`, { ifAvailable: true }, hold).catch(reject);
    });
  }

  /** The record, with a lease of this tab; null when it is gone, or another tab's lease has not run out. */
  #lease(client: string): Promise<Record | null> {
    return this.#change(client, (record) => (record !== null && this.#isFree(record) ? this.#owned(record) : null));
  }

  #isFree(record: Record): boolean {
    return this.#locks !== null || record.until < Date.now() || record.owner === this.#owner;
  }

  #owned(record: Omit<Record, "owner" | "until">): Record {
    return { ...record, owner: this.#owner, until: Date.now() + LEASE_MS };
  }

  async #renew(client: string): Promise<void> {
    await this.#change(client, (record) => (record?.owner === this.#owner ? this.#owned(record) : null));
  }

  /** `kept`: there is a record of this tab, unless another one has taken it. */
  async #save(workflowId: string, client: string, queue: SavedQueue | null, kept: boolean): Promise<void> {
    const database = await this.#opened();
    const transaction = database.transaction(STORE, "readwrite");
    const store = transaction.objectStore(STORE);
    const record = (await answer(store.get(client))) as Record | undefined;
    if (kept && record?.owner !== this.#owner) throw new QueueLost();
    if (queue === null) store.delete(client);
    else store.put(this.#owned({ client, workflowId, queue }));
    await done(transaction);
  }

  /** Write a record anew, or leave it as it is when `change` answers null; answers what was written. */
  async #change(client: string, change: (record: Record | null) => Record | null): Promise<Record | null> {
    const database = await this.#opened();
    const transaction = database.transaction(STORE, "readwrite");
    const store = transaction.objectStore(STORE);
    const record = ((await answer(store.get(client))) as Record | undefined) ?? null;
    const changed = change(record);
    if (changed !== null) store.put(changed);
    await done(transaction);
    return changed;
  }

  async #all(): Promise<Record[]> {
    const database = await this.#opened();
    return (await answer(database.transaction(STORE).objectStore(STORE).getAll())) as Record[];
  }

  #opened(): Promise<IDBDatabase> {
    this.#database ??= open(this.#options.indexedDB ?? globalThis.indexedDB, this.#options.database);
    return this.#database;
  }
}

function open(factory: IDBFactory, name: string): Promise<IDBDatabase> {
  const request = factory.open(name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "client" });
  return answer(request);
}

function answer<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function done(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
    transaction.onerror = () => reject(transaction.error);
  });
}
