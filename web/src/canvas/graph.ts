import {
  applyEdgeChanges,
  applyNodeChanges,
  type Edge,
  type EdgeChange,
  type Node,
  type NodeChange,
  type NodePositionChange,
} from "@xyflow/react";
import type { WorkflowEdge, WorkflowNode } from "../collab";
import { Store } from "./store";

export interface Place {
  readonly x: number;
  readonly y: number;
}

/** `used`: outputs that edges leave from, declared by the type or not. */
export type FlowNode = Node<{ node: WorkflowNode; used: string }, "step">;
export type FlowEdge = Edge<Record<string, never>, "wire">;

type NodeMap = ReadonlyMap<string, WorkflowNode>;
type EdgeMap = ReadonlyMap<string, WorkflowEdge>;

const NOBODY: ReadonlyMap<string, Place> = new Map();
const AT_REST: ReadonlyMap<string, Place> = new Map();
export const ORIGIN: Place = { x: 0, y: 0 };
const SEPARATOR = ",";

/**
 * What the canvas draws: the draft's nodes and edges, what is selected here, and where nodes are while they are dragged.
 * What has not changed stays the same object, so that it is not drawn again.
 *
 * A drag does not touch `nodes`: after a change there React Flow asks each node and each wire whether it has to be drawn
 * again, which with hundreds of them takes longer than a frame. What is dragged, and its wires, draw themselves at
 * `shifts` from where React Flow has them, until it hears of the drop.
 */
export class Graph {
  readonly nodes = new Store<FlowNode[]>([]);
  readonly edges = new Store<FlowEdge[]>([]);
  readonly selection = new Store<readonly string[]>([]);
  /** How far nodes that are dragged here are from their position in `nodes`. Another map after each move. */
  readonly shifts = new Store(AT_REST);
  /** Selected as soon as they are there. */
  #wanted: ReadonlySet<string> = new Set();

  /** `dragged`: where others hold nodes right now. */
  take(nodes: NodeMap, edges: EdgeMap, dragged: ReadonlyMap<string, Place> = NOBODY): void {
    this.nodes.set(flowNodes(this.nodes.get(), nodes, edges, dragged, this.shifts.get()));
    this.edges.set(flowEdges(this.edges.get(), nodes, edges));
    this.#keepSelection();
  }

  readonly changeNodes = (changes: NodeChange<FlowNode>[]): void => {
    const lasting = changes.filter((change) => isOurs(change) && !isMove(change));
    if (lasting.length > 0) this.nodes.set(applyNodeChanges(lasting, this.nodes.get()));
    this.#shift(changes);
    if (changes.some(({ type }) => type === "select")) this.#keepSelection();
  };

  readonly changeEdges = (changes: EdgeChange<FlowEdge>[]): void => {
    this.edges.set(applyEdgeChanges(changes.filter(isOurs), this.edges.get()));
  };

  /** Select just these nodes, and those that are not there yet once they come. */
  select(ids: Iterable<string>): void {
    this.#wanted = new Set(ids);
    this.edges.set(deselected(this.edges.get()));
    this.#keepSelection();
  }

  selectAll(): void {
    this.select(this.nodes.get().map(({ id }) => id));
  }

  selectedEdges(): string[] {
    return this.edges
      .get()
      .filter(({ selected }) => selected)
      .map(({ id }) => id);
  }

  /** React Flow hears where the dragged nodes are: it takes away those that it believes to be out of view. */
  settle(): void {
    const shifts = this.shifts.get();
    if (shifts.size === 0) return;
    this.nodes.set(this.nodes.get().map((node) => shifted(node, shifts.get(node.id))));
    this.shifts.set(new Map(Array.from(shifts.keys(), (id) => [id, ORIGIN])));
  }

  /** A drag goes on, or is over: then `nodes` has the new positions already. */
  #shift(changes: NodeChange<FlowNode>[]): void {
    const moves = changes.filter(isMove);
    if (moves.length > 0) {
      const rest = new Map(this.nodes.get().map(({ id, position }) => [id, position]));
      this.shifts.set(new Map(moves.map(({ id, position }) => [id, between(rest.get(id) ?? position, position)])));
    } else if (changes.some(isDrop)) this.shifts.set(AT_REST);
  }

  #keepSelection(): void {
    if (this.#wanted.size > 0 || this.selection.get().length > 0) this.#selectWanted();
    const now = this.nodes
      .get()
      .filter(({ selected }) => selected)
      .map(({ id }) => id);
    const before = this.selection.get();
    if (now.length !== before.length || now.some((id, index) => id !== before[index])) this.selection.set(now);
  }

  #selectWanted(): void {
    const wanted = this.#wanted;
    const nodes = this.nodes.get();
    if (wanted.size > 0 && !nodes.some(({ id }) => wanted.has(id))) return;
    if (wanted.size === 0) return;
    this.nodes.set(
      nodes.map((node) =>
        !!node.selected === wanted.has(node.id) ? node : { ...node, selected: wanted.has(node.id) },
      ),
    );
    this.#wanted = new Set();
  }
}

/** The draft alone adds, replaces and removes. */
function isOurs({ type }: { type: string }): boolean {
  return type !== "add" && type !== "remove" && type !== "replace";
}

type Move = NodePositionChange & { position: Place };

function isMove(change: NodeChange<FlowNode>): change is Move {
  return change.type === "position" && !!change.dragging && change.position !== undefined;
}

function isDrop(change: NodeChange<FlowNode>): boolean {
  return change.type === "position" && !change.dragging;
}

function shifted(node: FlowNode, by: Place | undefined): FlowNode {
  return by ? { ...node, position: { x: node.position.x + by.x, y: node.position.y + by.y } } : node;
}

function between(from: Place, to: Place): Place {
  return { x: to.x - from.x, y: to.y - from.y };
}

function deselected(edges: FlowEdge[]): FlowEdge[] {
  return edges.some(({ selected }) => selected) ? edges.map((edge) => ({ ...edge, selected: false })) : edges;
}

export function flowNodes(
  before: FlowNode[],
  nodes: NodeMap,
  edges: EdgeMap,
  dragged: ReadonlyMap<string, Place>,
  shifts: ReadonlyMap<string, Place> = AT_REST,
): FlowNode[] {
  const known = new Map(before.map((node) => [node.id, node]));
  const used = usedOutputs(edges);
  const next = Array.from(nodes.values(), (node) =>
    flowNode(known.get(node.id), node, used.get(node.id) ?? "", dragged.get(node.id), shifts.has(node.id)),
  );
  return isSame(before, next) ? before : next;
}

/** `ours`: whether it is dragged here, where it stays what its shift is reckoned from. */
function flowNode(
  before: FlowNode | undefined,
  node: WorkflowNode,
  used: string,
  held: Place | undefined,
  ours: boolean,
): FlowNode {
  if (before === undefined) {
    const position = held ?? node.position;
    return { id: node.id, type: "step", position, data: { node, used }, className: held && "held" };
  }
  const position = ours ? before.position : (held ?? node.position);
  const className = held && "held";
  const data = before.data.node === node && before.data.used === used ? before.data : { node, used };
  const stays = position.x === before.position.x && position.y === before.position.y;
  if (stays && data === before.data && className === before.className) return before;
  return { ...before, data, className, position: stays ? before.position : position };
}

export function flowEdges(before: FlowEdge[], nodes: NodeMap, edges: EdgeMap): FlowEdge[] {
  const known = new Map(before.map((edge) => [edge.id, edge]));
  const next: FlowEdge[] = [];
  for (const { id, source, target, source_handle, target_handle } of edges.values()) {
    if (!nodes.has(source) || !nodes.has(target)) continue; // told as a problem of the draft
    const drawn = {
      id,
      type: "wire" as const,
      source,
      target,
      sourceHandle: source_handle,
      targetHandle: target_handle,
    };
    next.push(known.get(id) ?? drawn);
  }
  return isSame(before, next) ? before : next;
}

function usedOutputs(edges: EdgeMap): Map<string, string> {
  const used = new Map<string, Set<string>>();
  for (const { source, source_handle } of edges.values()) {
    used.set(source, (used.get(source) ?? new Set()).add(source_handle));
  }
  return new Map(Array.from(used, ([id, handles]) => [id, [...handles].sort().join(SEPARATOR)]));
}

/** Handles hold no comma: the server refuses one. */
export function splitUsed(used: string): string[] {
  return used === "" ? [] : used.split(SEPARATOR);
}

/** Whether both hold the same objects. */
export function isSame(left: readonly unknown[], right: readonly unknown[]): boolean {
  return left.length === right.length && left.every((each, index) => each === right[index]);
}
