// Several people who edit one workflow of real instances as fast as people do, with all that happens to them: for tests
// that kill servers meanwhile. At the end everybody's edits are waited for, and what happened is written to a file.
//
//   MEL_URL=http://127.0.0.1:8080,http://127.0.0.1:8081 MEL_KEY=mel_… npx tsx tests/roam.ts \
//     --workflow ID --seconds 20 --seed 1 --clients 4 --out roam.json
//
// Exit code 0: all copies are equal and everything is saved; 1: they are not, or something waits still; 2: usage.
// SIGTERM and SIGINT end the editing early, and everything is waited for as usual.

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import WebSocket from "ws";
import {
  canonical,
  type Definition,
  type Draft,
  freshId,
  type Json,
  MemoryStore,
  type Operation,
  openDraft,
  type Refusal,
  type SocketClass,
} from "../src/collab/index.ts";
import { replacement } from "../src/collab/text.ts";

const { values: options } = parseArgs({
  options: {
    workflow: { type: "string" },
    seconds: { type: "string", default: "10" },
    seed: { type: "string", default: "1" },
    clients: { type: "string", default: "3" },
    /** How long everything is waited for at the end. */
    settle: { type: "string", default: "60" },
    /** Milliseconds between two edits of one client, on average. */
    pace: { type: "string", default: "60" },
    /** Seconds between two times that a client goes offline by itself, on average; 0: never. */
    offline: { type: "string", default: "8" },
    out: { type: "string" },
  },
});

type Random = () => number;

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function picked<T>(random: Random, list: readonly T[]): T | undefined {
  return list[Math.floor(random() * list.length)];
}

class Roamer {
  readonly draft: Draft;
  readonly acknowledged: { client: string; id: number; seq: number | null }[] = [];
  readonly refused: { error: string; message: string; ops: Refusal["ops"] }[] = [];
  readonly errors: string[] = [];
  #sockets: WebSocket[] = [];
  #online = true;
  #connections = 0;

  constructor(
    readonly number: number,
    readonly random: Random,
    urls: readonly string[],
    key: string,
    workflowId: string,
  ) {
    const roamer = this;
    class KeyedSocket extends WebSocket {
      constructor(url: string) {
        super(url, { headers: { authorization: `Bearer ${key}` } });
        roamer.#opened(this);
      }
    }
    const next = () => urls[(number + this.#connections++) % urls.length] ?? "";
    this.draft = openDraft({
      workflowId,
      url: () => `${next().replace(/^http/, "ws")}/api/ws/workflows/${workflowId}`,
      WebSocket: KeyedSocket as unknown as SocketClass,
      store: new MemoryStore(),
      random,
    });
    this.draft.on("acknowledged", (edit) => this.acknowledged.push(edit));
    this.draft.on("refused", ({ error, message, ops }) => this.refused.push({ error, message, ops }));
    this.draft.on("error", ({ error, message }) => this.errors.push(`${error}: ${message}`));
  }

  get settled(): boolean {
    const { status, pending } = this.draft.snapshot();
    return pending === 0 && status === "saved";
  }

  act(): void {
    if (this.draft.snapshot().definition === null) return;
    if (this.random() < 0.3) this.#type();
    else if (this.random() < 0.1) this.draft[this.random() < 0.7 ? "undo" : "redo"]({ force: true });
    else this.draft.edit(this.#edit(this.draft.snapshot().definition as Definition));
    this.draft.setPresence({ cursor: { x: Math.round(this.random() * 1000), y: 0 } });
  }

  /** The network is gone for a while. */
  async vanish(ms: number): Promise<void> {
    this.#online = false;
    for (const socket of this.#sockets) socket.terminate();
    await sleep(ms);
    this.back();
  }

  back(): void {
    this.#online = true;
    this.draft.hurry();
  }

  #opened(socket: WebSocket): void {
    this.#sockets = [...this.#sockets.filter((other) => other.readyState <= WebSocket.OPEN), socket];
    if (!this.#online) setImmediate(() => socket.terminate());
  }

  #type(): void {
    const nodes = [...this.draft.snapshot().nodes.values()].filter(({ config }) => typeof config.text === "string");
    const node = picked(this.random, nodes);
    if (node === undefined) return;
    const field = this.draft.text(node.id, ["config", "text"]);
    const at = Math.floor(this.random() * (field.value.length + 1));
    const cut = this.random() < 0.2 ? Math.min(2, field.value.length - at) : 0;
    field.edit(replacement(field.value, at, at + cut, `${this.number}${this.random() < 0.1 ? "\n" : ""}`));
  }

  #edit({ nodes, edges }: Definition): Operation[] {
    const { random } = this;
    const node = picked(random, nodes);
    const dice = random();
    if (node === undefined || (dice < 0.25 && nodes.length < 60)) return this.#added(nodes, node?.id);
    if (dice < 0.3 && nodes.length > 5) return [{ op: "node.remove", id: node.id }];
    if (dice < 0.32) return [{ op: "node.rename", id: node.id, to: `n${Math.floor(random() * 1e9)}` }];
    if (dice < 0.4) {
      const other = picked(random, nodes) ?? node;
      return [{ op: "edge.add", source: node.id, source_handle: `h${Math.floor(random() * 9)}`, target: other.id }];
    }
    const edge = picked(random, edges);
    if (dice < 0.44 && edge !== undefined) return [{ op: "edge.remove", id: edge.id }];
    if (dice < 0.48)
      return [{ op: "meta.set", path: ["notes"], value: [{ text: `note ${Math.floor(random() * 99)}` }] }];
    if (dice < 0.52) return [{ op: "node.unset", id: node.id, path: ["config", "deep"] }];
    if (dice < 0.6)
      return [{ op: "node.set", id: node.id, path: ["config", "deep", "er"], value: Math.floor(random() * 99) }];
    const place = { x: Math.floor(random() * 1000), y: Math.floor(random() * 1000) };
    return [{ op: "node.set", id: node.id, path: ["position"], value: place }];
  }

  #added(nodes: Definition["nodes"], source: string | undefined): Operation[] {
    const id = freshId({ has: (taken) => nodes.some((node) => node.id === taken) }, "set");
    const add: Operation = { op: "node.add", id, type: "set", name: `of ${this.number}`, config: { text: "text" } };
    return source === undefined ? [add] : [add, { op: "edge.add", source, target: id }];
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function roam(roamers: readonly Roamer[], random: Random, stopped: () => boolean): Promise<void> {
  const end = Date.now() + Number(options.seconds) * 1000;
  const away = Number(options.offline);
  while (Date.now() < end && !stopped()) {
    const pause = Number(options.pace) / roamers.length;
    await sleep(pause * (0.5 + random()));
    const roamer = picked(random, roamers);
    roamer?.act();
    if (away > 0 && random() < pause / 1000 / away) void picked(random, roamers)?.vanish(500 + random() * 2500);
  }
}

/** Wait until everything is saved and all have come equally far. */
async function settled(roamers: readonly Roamer[]): Promise<boolean> {
  const end = Date.now() + Number(options.settle) * 1000;
  while (Date.now() < end) {
    for (const roamer of roamers) roamer.back();
    const [first, ...others] = roamers.map(({ draft }) => draft.snapshot().seq);
    if (roamers.every((roamer) => roamer.settled) && others.every((seq) => seq === first)) return true;
    await sleep(100);
  }
  return false;
}

async function main(): Promise<number> {
  const urls = (process.env.MEL_URL ?? "").split(",").filter((url) => url !== "");
  const key = process.env.MEL_KEY ?? "";
  const { workflow } = options;
  if (urls.length === 0 || key === "" || workflow === undefined) {
    console.error("Set MEL_URL and MEL_KEY, and say --workflow ID.");
    return 2;
  }
  const seed = Number(options.seed);
  const roamers = Array.from({ length: Number(options.clients) }, (_, number) => {
    return new Roamer(number, randomFrom(seed * 1000 + number), urls, key, workflow);
  });
  let stopped = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => (stopped = true));
  await roam(roamers, randomFrom(seed), () => stopped);
  const done = await settled(roamers);
  const copies = roamers.map(({ draft }) => canonical(draft.snapshot().definition as unknown as Json));
  const equal = done && copies.every((copy) => copy === copies[0]);
  const report = {
    equal,
    settled: done,
    definition: roamers[0]?.draft.snapshot().definition ?? null,
    acknowledged: roamers.flatMap((roamer) => roamer.acknowledged),
    clients: roamers.map(({ draft, refused, errors }, index) => {
      const { seq, status, pending, closed } = draft.snapshot();
      return { seq, status, pending, closed: closed ?? null, refused, errors, copy: copies[index] };
    }),
  };
  const text = JSON.stringify(report);
  if (options.out === undefined) console.log(text);
  else writeFileSync(options.out, text);
  await Promise.all(roamers.map(({ draft }) => draft.close()));
  return equal ? 0 : 1;
}

process.exitCode = await main();
