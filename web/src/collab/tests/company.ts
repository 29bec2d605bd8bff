// Several people on one draft of the model server, for tests that tell a story.

import { vi } from "vitest";
import type { SentDefinition } from "../definition.ts";
import { type Draft, openDraft } from "../draft.ts";
import type { LostText } from "../rebase.ts";
import type { Refusal } from "../refusal.ts";
import type { DraftOptions } from "../session.ts";
import { MemoryStore } from "../store.ts";
import { replacement } from "../text.ts";
import { FakeServer, FakeSocket } from "./fake_server.ts";

let companies = 0;

export class Company {
  readonly server: FakeServer;
  readonly people: Someone[] = [];
  readonly #number = ++companies;

  constructor(definition: SentDefinition) {
    this.server = new FakeServer(definition);
  }

  /** Somebody who has loaded the draft. */
  async join(name: string, options: Partial<DraftOptions> = {}): Promise<Someone> {
    const someone = new Someone(this.server, `${name}-${this.#number}`, options);
    this.people.push(someone);
    await this.settle();
    return someone;
  }

  /** Let everything through, and give timers their time, until nothing moves any more. */
  async settle(): Promise<void> {
    for (let round = 0; round < 30; round += 1) {
      await vi.advanceTimersByTimeAsync(30);
      for (const someone of this.people) someone.socket?.letAll();
    }
  }

  async leave(): Promise<void> {
    await Promise.all(this.people.map((someone) => someone.draft.close()));
    vi.clearAllTimers();
  }
}

export class Someone {
  readonly draft: Draft;
  readonly refused: Refusal[] = [];
  readonly lost: LostText[] = [];
  readonly errors: { readonly error: string; readonly message: string }[] = [];
  online = true;

  constructor(
    readonly server: FakeServer,
    readonly address: string,
    options: Partial<DraftOptions>,
  ) {
    this.draft = openDraft({
      workflowId: "w",
      url: () => address,
      store: new MemoryStore(),
      WebSocket: server.socketClass(() => this.online),
      random: () => 1,
      ...options,
    });
    this.draft.on("refused", (refusal) => this.refused.push(refusal));
    this.draft.on("error", (error) => this.errors.push(error));
    this.draft.on("conflict", (lost) => this.lost.push(lost));
  }

  get socket(): FakeSocket | undefined {
    return FakeSocket.latest(this.address);
  }

  get node() {
    return (id: string) => this.draft.snapshot().nodes.get(id);
  }

  name(id: string): string | undefined {
    return this.node(id)?.name;
  }

  text(id: string): string {
    return this.draft.text(id, PROMPT).value;
  }

  rename(id: string, name: string): void {
    this.draft.edit([{ op: "node.set", id, path: ["name"], value: name }]);
  }

  type(id: string, at: number, insert: string, cut = 0): void {
    const field = this.draft.text(id, PROMPT);
    field.edit(replacement(field.value, at, at + cut, insert));
  }

  goOffline(): void {
    this.online = false;
    this.socket?.cut();
  }

  goOnline(): void {
    this.online = true;
    this.draft.hurry();
  }
}

export const PROMPT = ["config", "prompt"];

export const THREE_NODES = {
  nodes: [
    { id: "a", type: "llm", name: "A", config: { prompt: "Hello" } },
    { id: "b", type: "set", name: "B" },
    { id: "c", type: "log", name: "C" },
  ],
  edges: [
    { source: "a", target: "b" },
    { source: "b", target: "c" },
  ],
};
