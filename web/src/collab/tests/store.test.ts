// @vitest-environment node

// Waiting edits survive a reload, and never belong to two tabs.

import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openDraft } from "../draft.ts";
import { IndexedDbStore } from "../indexed_db_store.ts";
import { MemoryStore, type OfflineStore, QueueLost, type SavedQueue } from "../store.ts";
import { Company, PROMPT, type Someone, THREE_NODES } from "./company.ts";

const QUEUE: SavedQueue = {
  nextId: 2,
  sent: null,
  entries: [{ ops: [{ op: "node.remove", id: "a" }], alone: false }],
  texts: [],
  base: null,
};

/** Locks as browsers have them, for several tabs of one test. */
function lockManager(): LockManager & { readonly held: Set<string> } {
  const held = new Set<string>();
  const request = async (name: string, _: unknown, hold: (lock: unknown) => Promise<unknown> | undefined) => {
    if (held.has(name)) return hold(null);
    held.add(name);
    await hold({ name });
    held.delete(name);
    return undefined;
  };
  return { held, request, query: async () => ({}) } as unknown as LockManager & { readonly held: Set<string> };
}

const kinds: [string, () => () => OfflineStore][] = [
  [
    "memory",
    () => {
      const store = new MemoryStore();
      return () => store;
    },
  ],
  [
    "IndexedDB with locks",
    () => {
      const [indexedDB, locks] = [new IDBFactory(), lockManager()];
      return () => new IndexedDbStore({ database: "of-ada", indexedDB, locks });
    },
  ],
  [
    "IndexedDB with leases",
    () => {
      const indexedDB = new IDBFactory();
      return () => new IndexedDbStore({ database: "of-ada", indexedDB, locks: null });
    },
  ],
];

describe.each(kinds)("%s", (_, tabs) => {
  test("a queue is there for the next tab once the tab that had it has released it", async () => {
    const tab = tabs();
    const first = await tab().takeNew("w");
    await first.save(QUEUE);
    const second = tab();
    expect(await second.takeAbandoned("w")).toBeNull();
    await first.release();
    expect(await second.takeAbandoned("other")).toBeNull();
    const taken = await second.takeAbandoned("w");
    expect(taken).toMatchObject({ client: first.client, saved: QUEUE });
    expect(await tab().takeAbandoned("w")).toBeNull();
    await taken?.release();
  });

  test("a queue that has become empty is not kept", async () => {
    const tab = tabs();
    const first = await tab().takeNew("w");
    await first.save(QUEUE);
    await first.save(null);
    await first.release();
    expect(await tab().takeAbandoned("w")).toBeNull();
  });
});

describe("leases", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"] });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  test("a tab that is gone without a word loses its queue after 3 minutes, and is told when it returns", async () => {
    const indexedDB = new IDBFactory();
    const tab = () => new IndexedDbStore({ database: "of-ada", indexedDB, locks: null });
    const frozen = await tab().takeNew("w");
    await frozen.save(QUEUE);
    vi.setSystemTime(Date.now() + 179_000);
    expect(await tab().takeAbandoned("w")).toBeNull();
    vi.setSystemTime(Date.now() + 2_000);
    const taken = await tab().takeAbandoned("w");
    expect(taken?.client).toBe(frozen.client);
    await expect(frozen.save(QUEUE)).rejects.toThrow(QueueLost);
    await frozen.release();
    expect(await tab().takeAbandoned("w")).toBeNull(); // it is not the frozen tab's to give away
    await taken?.save(null); // all sent
    await expect(frozen.save(QUEUE)).rejects.toThrow(QueueLost);
    await taken?.release();
  });

  test("a living tab renews its lease", async () => {
    const indexedDB = new IDBFactory();
    const tab = () => new IndexedDbStore({ database: "of-ada", indexedDB, locks: null });
    const living = await tab().takeNew("w");
    await living.save(QUEUE);
    for (let n = 0; n < 10; n += 1) {
      vi.advanceTimersByTime(30_000);
      await tab().takeAbandoned("other"); // comes after the renewal, which has been asked for
    }
    expect(await tab().takeAbandoned("w")).toBeNull();
    await living.release();
  });
});

describe("drafts", () => {
  let company: Company;
  let bob: Someone;

  beforeEach(async () => {
    vi.useFakeTimers();
    company = new Company(THREE_NODES);
    bob = await company.join("bob");
  });

  afterEach(async () => {
    await company.leave();
    vi.useRealTimers();
  });

  test("edits made offline survive a reload, are shown without the server, and are sent later", async () => {
    const store = new MemoryStore();
    const ada = await company.join("ada", { store });
    ada.goOffline();
    ada.rename("a", "First");
    ada.type("a", 5, " world");
    await ada.draft.close();
    bob.type("a", 0, "> ");
    company.server.down = true;
    const again = await company.join("ada-again", { store });
    expect(again.draft.snapshot()).toMatchObject({ status: "offline", pending: 2 });
    expect([again.name("a"), again.text("a")]).toEqual(["First", "Hello world"]);
    company.server.down = false;
    again.draft.hurry();
    bob.draft.hurry();
    await company.settle();
    expect([bob.name("a"), bob.text("a")]).toEqual(["First", "> Hello world"]);
  });

  test("a page that is left again before it has opened the draft loses nothing", async () => {
    const store = new MemoryStore();
    const ada = await company.join("ada", { store });
    ada.goOffline();
    ada.rename("a", "First");
    await ada.draft.close();
    for (const ticks of [0, 1, 2, 3, 4, 5, 6]) {
      const draft = openDraft({ workflowId: "w", url: () => "left", store, WebSocket: company.server.socketClass() });
      for (let tick = 0; tick < ticks; tick += 1) await Promise.resolve();
      await draft.close();
    }
    const again = await company.join("ada-again", { store });
    await company.settle();
    expect([again.draft.snapshot().status, bob.name("a")]).toEqual(["saved", "First"]);
  });

  test("an edit that was under way when the page was reloaded is not made twice", async () => {
    const store = new MemoryStore();
    const ada = await company.join("ada", { store });
    ada.draft.edit([{ op: "node.add", id: "d", type: "log" }]);
    ada.draft.edit([{ op: "node.add", id: "e", type: "log" }]);
    ada.socket?.letUp(); // committed, but the answer is not heard
    await ada.draft.close();
    const again = await company.join("ada-again", { store });
    await company.settle();
    expect([...bob.draft.snapshot().nodes.keys()]).toEqual(["a", "b", "c", "d", "e"]);
    expect(again.draft.snapshot()).toMatchObject({ status: "saved", pending: 0 });
  });

  test("typing that was kept while online is sent when its text is still the same", async () => {
    const store = new MemoryStore();
    const ada = await company.join("ada", { store });
    ada.type("a", 5, "!");
    await ada.draft.close();
    await company.join("ada-again", { store });
    await company.settle();
    expect(bob.text("a")).toBe("Hello!");
  });

  test("typing that was kept while online is given back when somebody has changed its text meanwhile", async () => {
    const store = new MemoryStore();
    const ada = await company.join("ada", { store });
    ada.type("a", 5, "!");
    await ada.draft.close();
    const left = openDraft({ workflowId: "w", url: () => "left", store, WebSocket: company.server.socketClass() });
    await vi.advanceTimersByTimeAsync(10); // has the queue, but not the draft
    await left.close();
    company.server.rest([{ op: "node.set", id: "a", path: PROMPT, value: "Howdy" }]);
    const again = await company.join("ada-again", { store });
    await company.settle();
    expect([bob.text("a"), again.lost]).toEqual([
      "Howdy",
      [{ id: "a", path: PROMPT, yours: "Hello!", theirs: "Howdy" }],
    ]);
  });

  test("what a tab that is gone has left behind is sent by one that is open, once that has nothing to send", async () => {
    const store = new MemoryStore();
    const gone = await company.join("gone", { store });
    gone.goOffline();
    gone.rename("a", "Left behind");
    const open = await company.join("open", { store });
    await gone.draft.close();
    expect(bob.name("a")).toBe("A");
    open.socket?.cut();
    await vi.advanceTimersByTimeAsync(1_000);
    await company.settle();
    await company.settle();
    expect(bob.name("a")).toBe("Left behind");
    expect(open.draft.snapshot()).toMatchObject({ status: "saved", pending: 0 });
  });

  test("a queue that another tab has taken is not sent from here", async () => {
    const store = new MemoryStore();
    const lost = await store.takeNew("w");
    const save = vi.fn(() => Promise.reject(new QueueLost()));
    const taking = { ...lost, save };
    const stolen: OfflineStore = {
      takeAbandoned: async () => null,
      takeNew: vi
        .fn()
        .mockResolvedValueOnce(taking)
        .mockImplementation(() => store.takeNew("w")),
    };
    const ada = await company.join("ada", { store: stolen });
    ada.goOffline();
    ada.rename("a", "Elsewhere");
    await vi.advanceTimersByTimeAsync(100);
    expect(save).toHaveBeenCalled();
    expect(ada.draft.snapshot().pending).toBe(0);
    ada.goOnline();
    await company.settle();
    expect(bob.name("a")).toBe("A");
    ada.type("a", 5, "!");
    await company.settle();
    expect(bob.draft.text("a", PROMPT).value).toBe("Hello!");
  });

  test("a store that fails is told, and editing goes on", async () => {
    const broken: OfflineStore = {
      takeAbandoned: () => Promise.reject(new Error("No database here.")),
      takeNew: () => Promise.reject(new Error("No database here.")),
    };
    const ada = await company.join("ada", { store: broken });
    expect(ada.errors).toMatchObject([{ error: "store" }, { error: "store" }]);
    ada.rename("a", "First");
    await company.settle();
    expect(bob.name("a")).toBe("First");
  });
});
