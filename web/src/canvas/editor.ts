import { createContext, useContext } from "react";
import type { NodeType } from "../api/schema";
import type { Draft, Json, Operation, Other, Snapshot } from "../collab";
import { NO_RUN, type RunView } from "../runs/runView";
import { copied, pasting, readPasted } from "./clipboard";
import {
  addition,
  free,
  GRID,
  insertion,
  type LooseEnd,
  looseOutput,
  moves,
  obstacle,
  onGrid,
  placeAfter,
  removal,
  toggling,
  type Wire,
} from "./edits";
import { type FlowNode, Graph, type Place } from "./graph";
import { outputsOf } from "./handles";
import { arranged } from "./layout";
import { type Direction, neighbour, towards } from "./navigation";
import { NOBODY, peopleOf } from "./people";
import { type ProblemsByNode, problemsByNode } from "./problems";
import { start } from "./running";
import { type Readable, Store, usePart } from "./store";

export type Types = ReadonlyMap<string, NodeType>;

/** What is asked right now, above the canvas. */
export type Dialog =
  | { readonly kind: "palette"; readonly end?: LooseEnd; readonly at?: Place; readonly into?: string }
  | { readonly kind: "connect"; readonly from: string }
  | { readonly kind: "undo"; readonly which: "undo" | "redo"; readonly others: readonly Other[] }
  | { readonly kind: "commands" | "help" | "execute" | "history" | "versions" };

/** What the drawn canvas can do for the editor. */
export interface Viewport {
  fit(ids?: readonly string[]): void;
  /** Brings a node into view that is not. */
  reveal(id: string): void;
  zoom(by: "in" | "out"): void;
  /** The middle of what is to be seen. */
  middle(): Place;
  focus(): void;
}

const MOST_HELD = 40;

/** One open workflow: its draft, what is shown of it, and everything that can be done to it. */
export class Editor {
  readonly graph = new Graph();
  readonly people = new Store(NOBODY);
  readonly problems = new Store<ProblemsByNode>(new Map());
  readonly run = new Store<RunView>(NO_RUN);
  /** The run that is watched. */
  readonly runId = new Store<string | null>(null);
  /** The node in the panel. */
  readonly opened = new Store<string | null>(null);
  readonly renaming = new Store<string | null>(null);
  readonly hoveredEdge = new Store<string | null>(null);
  /** Whether so many nodes are seen from so far that details do not matter. */
  readonly far = new Store(false);
  readonly dialog = new Store<Dialog | null>(null);
  readonly shown: Readable<Snapshot>;
  viewport: Viewport | null = null;
  #last: Snapshot | null = null;
  #dragged: ReadonlyMap<string, Place> | null = null;
  #stop: (() => void)[] = [];

  constructor(
    readonly workflowId: string,
    readonly draft: Draft,
    readonly types: Types,
  ) {
    this.shown = { get: draft.snapshot, subscribe: draft.subscribe };
  }

  /** Follow the draft until `stop`. */
  start(): void {
    this.#stop = [
      this.draft.subscribe(() => this.#take()),
      this.graph.selection.subscribe(() => this.draft.setPresence({ selection: this.selected.slice(0, MOST_HELD) })),
      this.draft.on("renamed", ({ from, to }) => this.#follow(from, to)),
    ];
    this.#take();
  }

  stop(): void {
    for (const stop of this.#stop) stop();
  }

  #take(): void {
    const now = this.draft.snapshot();
    const last = this.#last;
    this.#last = now;
    if (last?.peers !== now.peers) this.people.set(peopleOf(now.peers, this.people.get()));
    if (last?.problems !== now.problems) this.problems.set(problemsByNode(now.problems, this.problems.get()));
    const { dragged } = this.people.get();
    if (last?.nodes === now.nodes && last.edges === now.edges && dragged === this.#dragged) return;
    this.#dragged = dragged;
    this.graph.take(now.nodes, now.edges, dragged);
  }

  #follow(from: string, to: string): void {
    if (this.opened.get() === from) this.opened.set(to);
    if (this.selected.includes(from)) this.graph.select(this.selected.map((id) => (id === from ? to : id)));
  }

  // --- to be read

  get nodes() {
    return this.draft.snapshot().nodes;
  }

  get edges() {
    return this.draft.snapshot().edges;
  }

  get selected(): readonly string[] {
    return this.graph.selection.get();
  }

  get mayEdit(): boolean {
    const { role, status } = this.draft.snapshot();
    return status !== "closed" && role !== "viewer";
  }

  /** The output that a new node is connected to when nothing else is said: that of the one selected node. */
  looseEnd(): LooseEnd | undefined {
    const [id, ...others] = this.selected;
    const node = others.length === 0 && id !== undefined ? this.nodes.get(id) : undefined;
    return node && looseOutput(this.types.get(node.type), node, this.edges);
  }

  // --- edits

  edit(ops: readonly Operation[], label: string): boolean {
    return ops.length === 0 || (this.mayEdit && this.draft.edit(ops, label));
  }

  add(type: NodeType, { end, at, into }: { end?: LooseEnd; at?: Place; into?: string }): void {
    const edge = into === undefined ? undefined : this.edges.get(into);
    const made = (edge && insertion(this.nodes, type, edge)) ?? addition(this.nodes, type, this.#place(end, at), end);
    if (!this.edit(made.ops, `add ${type.name}`)) return;
    this.graph.select([made.id]);
    this.viewport?.focus();
  }

  #place(end: LooseEnd | undefined, at: Place | undefined): Place {
    if (at) return at;
    const from = end && this.nodes.get(end.node);
    if (from) return placeAfter(this.nodes, this.edges, from);
    return free(this.nodes, onGrid(this.viewport?.middle() ?? { x: 0, y: 0 }));
  }

  connect(wire: Wire): boolean {
    return obstacle(this.edges, wire) === null && this.edit([{ op: "edge.add", ...wire }], "connect");
  }

  remove(nodeIds = this.selected, edgeIds: readonly string[] = this.graph.selectedEdges()): void {
    this.edit(
      removal(this.edges, nodeIds, edgeIds),
      nodeIds.length === 1 ? `delete ${this.nameOf(nodeIds[0])}` : "delete",
    );
  }

  toggle(ids = this.selected): void {
    this.edit(toggling(this.nodes, ids), "disable or enable");
  }

  rename(id: string, name: string): void {
    this.renaming.set(null);
    const before = this.nodes.get(id)?.name;
    if (before !== undefined && name.trim() && name !== before) {
      this.edit([{ op: "node.set", id, path: ["name"], value: name.trim() }], "rename");
    }
    this.viewport?.focus();
  }

  /** Another id; the server rewrites the expressions that name it. */
  renameId(id: string, to: string): void {
    if (this.edit([{ op: "node.rename", id, to }], "change the id")) this.#follow(id, to);
  }

  copy(): string | null {
    return this.selected.length > 0 ? copied(this.nodes, this.edges, this.selected) : null;
  }

  /** Whether there was something to paste. */
  paste(text: string, at?: Place): boolean {
    const read = readPasted(text);
    if (!read) return false;
    const { ids, ops } = pasting(this.nodes, read, at);
    if (this.edit(ops, "paste")) this.graph.select(ids);
    return true;
  }

  duplicate(): void {
    const text = this.copy();
    if (text) this.paste(text);
  }

  step(which: "undo" | "redo", force = false): void {
    const done = which === "undo" ? this.draft.undo({ force }) : this.draft.redo({ force });
    if (!done.done && done.asked) this.dialog.set({ kind: "undo", which, others: done.asked });
  }

  async arrange(): Promise<void> {
    const outputs = (id: string) => {
      const node = this.nodes.get(id);
      return node ? outputsOf(this.types.get(node.type), node) : [];
    };
    const places = await arranged(this.graph.nodes.get(), this.graph.edges.get(), outputs);
    this.edit(moves(places, this.nodes), "arrange");
    this.viewport?.fit();
  }

  nudge(direction: Direction): void {
    const { x, y } = towards(direction);
    const places = this.selected.flatMap((id): [string, Place][] => {
      const at = this.nodes.get(id)?.position;
      return at ? [[id, { x: at.x + x * GRID, y: at.y + y * GRID }]] : [];
    });
    this.edit(moves(new Map(places), this.nodes), "move");
  }

  go(direction: Direction): void {
    const nodes = this.graph.nodes.get();
    const to = neighbour(
      nodes,
      nodes.find(({ id }) => id === this.selected.at(-1)),
      direction,
    );
    if (to) this.show(to.id);
  }

  /** Select a node and bring it into view. */
  show(id: string): void {
    this.graph.select([id]);
    this.viewport?.fit([id]);
  }

  open(id: string | undefined = this.selected[0]): void {
    if (id === undefined || !this.nodes.has(id)) return;
    this.graph.select([id]);
    this.opened.set(id);
  }

  close(): void {
    this.opened.set(null);
    this.viewport?.focus();
  }

  // --- dragging: others see it as presence, only the drop is an edit

  dragging(nodes: readonly FlowNode[]): void {
    const held = nodes.slice(0, MOST_HELD).map(({ id, position }): [string, Json] => [id, { ...position }]);
    this.draft.setPresence({ dragging: Object.fromEntries(held) });
  }

  dropped(nodes: readonly FlowNode[]): void {
    this.edit(moves(new Map(nodes.map(({ id, position }) => [id, position])), this.nodes), "move");
    this.#letGo();
  }

  /** Others go on seeing the nodes where they were dropped until the drop is committed. */
  #letGo(): void {
    const settled = () => this.draft.snapshot().pending === 0 && this.draft.setPresence({ dragging: null });
    if (this.draft.snapshot().pending === 0) return void settled();
    const stop = this.draft.subscribe(() => {
      if (this.draft.snapshot().pending > 0) return;
      stop();
      settled();
    });
  }

  // --- runs

  watch(runId: string | null): void {
    this.run.set(NO_RUN);
    this.runId.set(runId);
  }

  execute(): void {
    if (this.mayEdit) void start(this, { version: "draft" });
  }

  nameOf(id: string | undefined): string {
    const node = id === undefined ? undefined : this.nodes.get(id);
    return node?.name || node?.id || id || "";
  }
}

const EditorContext = createContext<Editor | null>(null);

export const EditorProvider = EditorContext.Provider;

export function useEditor(): Editor {
  const editor = useContext(EditorContext);
  if (!editor) throw new Error("This stands outside of an open workflow.");
  return editor;
}

/** A part of what the draft shows. */
export function useShown<P>(part: (snapshot: Snapshot) => P): P {
  return usePart(useEditor().shown, part);
}
