// @vitest-environment node

// Random sessions of several people, with everything that goes wrong on the way: at the end all have what the server has.

import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Draft, openDraft } from "../draft.ts";
import type { TextField } from "../field.ts";
import { canonical, type Json } from "../json.ts";
import type { Operation } from "../operations.ts";
import type { Refusal } from "../refusal.ts";
import { MemoryStore } from "../store.ts";
import { changed, replacement } from "../text.ts";
import { FakeServer, FakeSocket } from "./fake_server.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
  FakeSocket.all.clear();
});

const START = {
  nodes: [
    { id: "a", type: "llm", config: { prompt: "Hello" } },
    { id: "b", type: "set" },
    { id: "c", type: "log" },
  ],
  edges: [{ source: "a", target: "b" }],
};

/** An editor on a text: it sees nothing of it but the changes. */
class Editor {
  doc: string;
  readonly stop: () => void;

  constructor(readonly field: TextField) {
    this.doc = field.value;
    this.stop = field.subscribe(({ changes }) => {
      this.doc = changed(this.doc, changes);
    });
  }
}

class Person {
  draft: Draft;
  online = true;
  readonly store = new MemoryStore();
  readonly editors: Editor[] = [];
  readonly acknowledged: string[] = [];
  readonly misfits: Refusal[] = [];

  constructor(
    readonly server: FakeServer,
    readonly name: string,
  ) {
    this.draft = this.#open();
  }

  get socket(): FakeSocket | undefined {
    return FakeSocket.latest(this.name);
  }

  get loaded(): boolean {
    return this.draft.snapshot().definition !== null;
  }

  async reload(): Promise<void> {
    await this.draft.close();
    this.draft = this.#open();
    for (const editor of this.editors.splice(0)) editor.stop();
  }

  watch(): void {
    for (const editor of this.editors.splice(0)) editor.stop();
    for (const id of ["a", "b", "llm", "llm_2"]) {
      this.editors.push(new Editor(this.draft.text(id, ["config", "prompt"])));
    }
  }

  #open(): Draft {
    const draft = openDraft({
      workflowId: "w",
      url: () => this.name,
      store: this.store,
      WebSocket: this.server.socketClass(() => this.online),
      random: () => 0,
    });
    draft.on("refused", (refusal) => {
      if (refusal.error === "bad_request") this.misfits.push(refusal);
    });
    draft.on("acknowledged", ({ client, id }) => this.acknowledged.push(`${client} ${id}`));
    return draft;
  }
}

type Step =
  | { do: "edit"; who: number; pick: number; value: number }
  | { do: "type"; who: number; pick: number; at: number; cut: number; insert: string }
  | { do: "undo" | "redo" | "up" | "down" | "twice" | "cut" | "toggle" | "reload" | "watch"; who: number }
  | { do: "wait"; ms: number }
  | { do: "restart" | "forget" | "rest"; pick: number; value: number };

const who = fc.nat({ max: 2 });
const small = fc.nat({ max: 30 });
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant("edit" as const), who, pick: small, value: small }) },
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant("type" as const),
        who,
        pick: small,
        at: small,
        cut: fc.nat({ max: 3 }),
        insert: fc.constantFrom("x", "yz", "line\n", "😀", ""),
      }),
    },
    { weight: 10, arbitrary: fc.record({ do: fc.constantFrom("up" as const, "down" as const), who }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("undo" as const, "redo" as const), who }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constantFrom("twice" as const, "cut" as const, "toggle" as const, "reload" as const, "watch" as const),
        who,
      }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(1, 30, 300, 5000) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constantFrom("restart" as const, "forget" as const, "rest" as const),
        pick: small,
        value: small,
      }),
    },
  ),
  { minLength: 20, maxLength: 120 },
);

function operations(draft: Draft, pick: number, value: number): Operation[] {
  const { nodes, edges } = draft.snapshot();
  const ids = [...nodes.keys()];
  const id = ids[value % ids.length] ?? "a";
  const other = ids[(value + pick) % ids.length] ?? "b";
  const edge = [...edges.keys()][value % Math.max(1, edges.size)] ?? "e_none";
  const added = ["llm", "llm_2", "set"][value % 3] as string;
  const all: Operation[][] = [
    [{ op: "node.set", id, path: ["name"], value: `n${value}` }],
    [{ op: "node.set", id, path: ["position"], value: { x: value, y: pick } }],
    [{ op: "node.set", id, path: ["config", "deep", "er"], value }],
    [{ op: "node.unset", id, path: ["config", "deep"] }],
    [{ op: "node.add", id: added, type: "llm", config: { prompt: `p${value}` } }],
    [
      { op: "node.add", id: added, type: "llm" },
      { op: "edge.add", source: id, target: added },
      { op: "node.set", id: added, path: ["config", "about"], value: `{{ steps.${added}.output }}` },
    ],
    [{ op: "node.remove", id }],
    [{ op: "edge.add", source: id, target: other }],
    [{ op: "edge.remove", id: edge }],
    [{ op: "node.rename", id, to: `r${value}` }],
    [{ op: "meta.set", path: ["settings", "priority"], value: value % 10 }],
    [{ op: "meta.set", path: ["notes"], value: [{ text: `note ${value}` }] }],
    [{ op: "node.set", id, path: ["config", "prompt"], value: `set ${value}` }],
    [{ op: "node.set", id, path: ["config"], value: { prompt: "Hello" } }],
  ];
  if (value === 30) return [{ op: "draft.replace", definition: START }];
  return all[pick % all.length] as Operation[];
}

function typeSomething(person: Person, step: Extract<Step, { do: "type" }>): void {
  const texts = [...person.draft.snapshot().nodes.values()].filter((node) => "prompt" in node.config);
  const node = texts[step.pick % Math.max(1, texts.length)];
  if (node === undefined) return;
  const field = person.draft.text(node.id, ["config", "prompt"]);
  const characters = [...field.value];
  const from = characters.slice(0, step.at % (characters.length + 1)).join("").length;
  const cut = [...field.value.slice(from)].slice(0, step.cut).join("").length;
  field.edit(replacement(field.value, from, from + cut, step.insert));
}

async function play(server: FakeServer, people: Person[], step: Step): Promise<void> {
  const person = "who" in step ? people[step.who] : undefined;
  if (step.do === "wait") await vi.advanceTimersByTimeAsync(step.ms);
  if (step.do === "restart") server.reload();
  if (step.do === "forget") server.forgotten = server.seq;
  if (step.do === "rest") server.rest([{ op: "meta.set", path: ["settings", "priority"], value: step.value % 10 }]);
  if (person === undefined) return;
  if (step.do === "up") person.socket?.letUp();
  if (step.do === "down") person.socket?.letDown();
  if (step.do === "cut") person.socket?.cut();
  if (step.do === "twice") {
    for (const frames of [person.socket?.up, person.socket?.down]) frames?.unshift(...frames.slice(0, 1));
  }
  if (step.do === "toggle") {
    person.online = !person.online;
    if (!person.online) person.socket?.cut();
  }
  if (step.do === "reload") await person.reload();
  if (!person.loaded) return;
  if (step.do === "edit") person.draft.edit(operations(person.draft, step.pick, step.value));
  if (step.do === "type") typeSomething(person, step);
  if (step.do === "undo") person.draft.undo({ force: true });
  if (step.do === "redo") person.draft.redo({ force: true });
  if (step.do === "watch") person.watch();
}

async function hold(server: FakeServer, people: Person[], session: Step[]): Promise<void> {
  await vi.advanceTimersByTimeAsync(1);
  for (const person of people) person.socket?.letAll();
  for (const step of session) {
    await play(server, people, step);
    for (const { doc, field } of people.flatMap(({ editors }) => editors)) expect(doc).toBe(field.value);
  }
  await settle(people);
}

async function settle(people: Person[]): Promise<void> {
  for (const person of people) person.online = true;
  for (let round = 0; round < 400; round += 1) {
    for (const person of people) person.socket?.letAll();
    await vi.advanceTimersByTimeAsync(round % 20 === 19 ? 40_000 : 100);
    if (people.every((person) => person.draft.snapshot().status === "saved")) break;
  }
  for (const person of people) person.socket?.letAll();
}

function judge(server: FakeServer, people: Person[]): void {
  const truth = canonical(server.definition as unknown as Json);
  for (const { draft, editors } of people) {
    const { status, pending, definition, seq } = draft.snapshot();
    expect({ status, pending, seq }).toEqual({ status: "saved", pending: 0, seq: server.seq });
    expect(canonical(definition as unknown as Json)).toBe(truth);
    for (const { doc, field } of editors) expect(doc).toBe(field.value);
  }
  const committed = server.log.map(({ client, id }) => `${client} ${id}`);
  expect(new Set(committed).size).toBe(committed.length);
  const acknowledged = people.flatMap((person) => person.acknowledged);
  expect(committed.filter((edit) => !edit.startsWith("rest")).sort()).toEqual(acknowledged.sort());
}

/** The new node's next free id is that of one which is gone, in which one has typed. */
const SOMEBODY_TAKES_THE_ID_OF_A_NEW_NODE: Step[] = [
  { do: "edit", who: 0, pick: 4, value: 0 },
  { do: "wait", ms: 30 },
  { do: "up", who: 0 },
  { do: "edit", who: 0, pick: 4, value: 10 },
  { do: "type", who: 0, pick: 1, at: 0, cut: 0, insert: "x" },
  { do: "edit", who: 1, pick: 0, value: 30 },
  { do: "wait", ms: 30 },
  { do: "up", who: 1 },
  { do: "edit", who: 2, pick: 4, value: 1 },
  { do: "wait", ms: 30 },
  { do: "up", who: 2 },
];

test("after any session every copy equals the server's, and every committed edit was acknowledged once", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (session) => {
      FakeSocket.all.clear();
      const server = new FakeServer(START);
      const people = ["ada", "bob", "eve"].map((name) => new Person(server, name));
      try {
        await hold(server, people, session);
        judge(server, people);
        // Without the edits between two states nobody can say where in a text one has typed.
        const known = session.every((step) => step.do !== "forget");
        if (known) expect(people.flatMap(({ misfits }) => misfits)).toEqual([]);
      } finally {
        await Promise.all(people.map((person) => person.draft.close()));
        vi.clearAllTimers();
      }
    }),
    {
      numRuns: Number(process.env.SESSIONS ?? 100),
      endOnFailure: process.env.SHRINK === undefined,
      examples: [[SOMEBODY_TAKES_THE_ID_OF_A_NEW_NODE]],
    },
  );
}, 600_000);
