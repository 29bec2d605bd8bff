// A draft in memory: immutable values, and the one place where a changed copy is made.

import {
  completeEdge,
  completeNode,
  type Definition,
  SETTINGS_DEFAULTS,
  type SentDefinition,
  type WorkflowEdge,
  type WorkflowNode,
} from "./definition.ts";
import { equal, type JsonObject } from "./json.ts";

export type NodeMap = ReadonlyMap<string, WorkflowNode>;
export type EdgeMap = ReadonlyMap<string, WorkflowEdge>;

export type DraftState = {
  readonly nodes: NodeMap;
  readonly edges: EdgeMap;
  readonly settings: JsonObject;
  readonly notes: readonly JsonObject[];
};

export function load(definition: SentDefinition): DraftState {
  return {
    nodes: new Map((definition.nodes ?? []).map((node) => [node.id, completeNode(node)])),
    edges: new Map((definition.edges ?? []).map(completeEdge).map((edge) => [edge.id, edge])),
    settings: { ...SETTINGS_DEFAULTS, ...definition.settings },
    notes: definition.notes ?? [],
  };
}

const lists = new WeakMap<ReadonlyMap<string, unknown>, readonly unknown[]>();

/** The values of a map in its order: the same list as long as it is the same map. */
export function listOf<V>(map: ReadonlyMap<string, V>): readonly V[] {
  let list = lists.get(map) as readonly V[] | undefined;
  if (list === undefined) {
    list = [...map.values()];
    lists.set(map, list);
  }
  return list;
}

export function definitionOf(state: DraftState): Definition {
  return { nodes: listOf(state.nodes), edges: listOf(state.edges), settings: state.settings, notes: state.notes };
}

/** `next`, made of the objects of `previous` wherever the two are equal: who compares by identity sees no change. */
export function sharing(previous: DraftState, next: DraftState): DraftState {
  const shared = {
    nodes: sharingMap(previous.nodes, next.nodes),
    edges: sharingMap(previous.edges, next.edges),
    settings: equal(previous.settings, next.settings) ? previous.settings : next.settings,
    notes: equal(previous.notes, next.notes) ? previous.notes : next.notes,
  };
  return isSame(previous, shared) ? previous : shared;
}

function isSame(left: DraftState, right: DraftState): boolean {
  return (
    left.nodes === right.nodes &&
    left.edges === right.edges &&
    left.settings === right.settings &&
    left.notes === right.notes
  );
}

function sharingMap<V extends JsonObject>(
  previous: ReadonlyMap<string, V>,
  next: ReadonlyMap<string, V>,
): ReadonlyMap<string, V> {
  if (previous === next) return previous;
  const order = previous.keys();
  let same = previous.size === next.size;
  const shared = new Map<string, V>();
  for (const [key, value] of next) {
    const before = previous.get(key);
    const kept = before !== undefined && equal(before, value) ? before : value;
    same = same && kept === before && order.next().value === key;
    shared.set(key, kept);
  }
  return same ? previous : shared;
}

/** A state in the making. Each map is copied once, when it is first written to; `state()` hands out what is there. */
export class Working {
  #nodes: NodeMap;
  #edges: EdgeMap;
  #ownNodes: Map<string, WorkflowNode> | null = null;
  #ownEdges: Map<string, WorkflowEdge> | null = null;
  settings: JsonObject;
  notes: readonly JsonObject[];
  #start: DraftState;

  constructor(start: DraftState) {
    this.#start = start;
    this.#nodes = start.nodes;
    this.#edges = start.edges;
    this.settings = start.settings;
    this.notes = start.notes;
  }

  get nodes(): NodeMap {
    return this.#nodes;
  }

  get edges(): EdgeMap {
    return this.#edges;
  }

  putNode(node: WorkflowNode): void {
    this.#writableNodes().set(node.id, node);
  }

  dropNode(id: string): void {
    this.#writableNodes().delete(id);
  }

  putEdge(edge: WorkflowEdge): void {
    this.#writableEdges().set(edge.id, edge);
  }

  dropEdge(id: string): void {
    this.#writableEdges().delete(id);
  }

  /** Other nodes or edges as a whole: a rename keeps places, which a map can only do when it is written anew. */
  replaceNodes(nodes: Iterable<WorkflowNode>): void {
    this.#nodes = this.#ownNodes = new Map(Array.from(nodes, (node) => [node.id, node]));
  }

  replaceEdges(edges: Iterable<WorkflowEdge>): void {
    this.#edges = this.#ownEdges = new Map(Array.from(edges, (edge) => [edge.id, edge]));
  }

  /** The state as it is now. What is written afterwards goes into new copies. */
  state(): DraftState {
    this.#ownNodes = null;
    this.#ownEdges = null;
    const now = { nodes: this.#nodes, edges: this.#edges, settings: this.settings, notes: this.notes };
    if (!isSame(this.#start, now)) this.#start = now;
    return this.#start;
  }

  goBackTo(state: DraftState): void {
    this.#ownNodes = null;
    this.#ownEdges = null;
    this.#nodes = state.nodes;
    this.#edges = state.edges;
    this.settings = state.settings;
    this.notes = state.notes;
  }

  #writableNodes(): Map<string, WorkflowNode> {
    if (this.#ownNodes === null) this.#nodes = this.#ownNodes = new Map(this.#nodes);
    return this.#ownNodes;
  }

  #writableEdges(): Map<string, WorkflowEdge> {
    if (this.#ownEdges === null) this.#edges = this.#ownEdges = new Map(this.#edges);
    return this.#ownEdges;
  }
}
