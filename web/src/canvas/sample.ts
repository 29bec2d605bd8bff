/** A small draft in memory for tests, with the parts of the library's interface that the canvas uses. */
import type { NodeType } from "../api/schema";
import { completeNode, type Draft, edgeId, type Operation, type Peer, type Snapshot } from "../collab";
import { apply } from "../collab/apply";
import { type DraftState, definitionOf, load, Working } from "../collab/state";
import { Editor } from "./editor";

export function nodeType(id: string, more: Partial<NodeType> = {}): NodeType {
  return {
    id,
    name: id,
    description: "",
    category: "Data",
    icon: "circle",
    kinds: ["action"],
    entry_point: false,
    branching: false,
    effects: false,
    inputs: ["in"],
    outputs: ["out"],
    parameters: [],
    schema: {},
    ...more,
  } as NodeType;
}

export const TYPES = new Map(
  [
    nodeType("start", { inputs: [], entry_point: true, category: "Triggers" }),
    nodeType("log"),
    nodeType("if", { outputs: ["true", "false"] }),
    nodeType("stop", { outputs: [] }),
  ].map((type) => [type.id, type]),
);

export const node = completeNode;

export const wire = (source: string, target: string, source_handle = "out") => ({
  id: edgeId(source, source_handle, target, "in"),
  source,
  source_handle,
  target,
  target_handle: "in",
});

/** `pending` and `peers` are what a test says they are. */
export class SampleDraft {
  edits: (readonly Operation[])[] = [];
  presence: Record<string, unknown> = {};
  asked: Snapshot["problems"] = [];
  refusesUndo = false;
  #state: DraftState;
  #now: Snapshot;
  readonly #listeners = new Set<() => void>();

  constructor(definition: Parameters<typeof load>[0], role = "editor") {
    this.#state = load(definition);
    this.#now = {
      status: "saved",
      pending: 0,
      seq: 1,
      role,
      you: null,
      peers: new Map(),
      problems: [],
      canUndo: false,
      canRedo: false,
      nodes: this.#state.nodes,
      edges: this.#state.edges,
      definition: definitionOf(this.#state),
    };
  }

  readonly snapshot = () => this.#now;

  readonly subscribe = (listener: () => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  show(change: Partial<Snapshot>): void {
    this.#now = { ...this.#now, ...change };
    for (const listener of [...this.#listeners]) listener();
  }

  meet(peers: Record<string, Peer>): void {
    this.show({ peers: new Map(Object.entries(peers)) });
  }

  edit(ops: readonly Operation[]): boolean {
    const work = new Working(this.#state);
    apply(work, ops);
    this.edits.push(ops);
    this.#state = work.state();
    this.show({ nodes: this.#state.nodes, edges: this.#state.edges, definition: definitionOf(this.#state) });
    return true;
  }

  undo({ force = false } = {}) {
    if (this.refusesUndo && !force) return { done: false, asked: [{ seq: 3, by: { id: "g", name: "Grace" }, at: "" }] };
    this.edits.push([]);
    return { done: true, label: undefined };
  }

  redo() {
    return { done: false };
  }

  setPresence(patch: Record<string, unknown>): void {
    Object.assign(this.presence, patch);
  }

  on() {
    return () => {};
  }
}

/** An editor on a draft of its own, as if its page were shown. */
export function sampleEditor(definition: Parameters<typeof load>[0], role?: string) {
  const draft = new SampleDraft(definition, role);
  const editor = new Editor("w", draft as unknown as Draft, TYPES);
  editor.start();
  return { draft, editor };
}
