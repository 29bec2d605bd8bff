/** The edits that the canvas makes, as operations. Nothing here touches the page. */
import type { NodeType } from "../api/schema";
import { freshId, type Operation, type WorkflowEdge, type WorkflowNode } from "../collab";
import type { Place } from "./graph";
import { inputsOf, outputsOf } from "./handles";

export type NodeMap = ReadonlyMap<string, WorkflowNode>;
export type EdgeMap = ReadonlyMap<string, WorkflowEdge>;

/** An end of a wire that is not connected yet. */
export interface LooseEnd {
  readonly node: string;
  readonly handle: string;
  /** Whether the wire leaves the node here, or arrives. */
  readonly side: "source" | "target";
}

export interface Wire {
  readonly source: string;
  readonly source_handle: string;
  readonly target: string;
  readonly target_handle: string;
}

export const GRID = 16;
export const NODE_WIDTH = 224;
export const NODE_HEIGHT = 64;
const GAP = 96;

export function onGrid({ x, y }: Place): Place {
  return { x: Math.round(x / GRID) * GRID, y: Math.round(y / GRID) * GRID };
}

/** A new node, connected to a loose end where that can be done. */
export function addition(
  nodes: NodeMap,
  type: NodeType,
  position: Place,
  end?: LooseEnd,
): { id: string; ops: Operation[] } {
  const id = freshId(nodes, type.id);
  const node: Operation = {
    op: "node.add",
    id,
    type: type.id,
    name: freshName(nodes, type.name),
    position: onGrid(position),
  };
  const wire = end && wireTo(end, id, type);
  return { id, ops: wire ? [node, { op: "edge.add", ...wire }] : [node] };
}

/** A new node in the middle of an edge: what came from its source goes through it. */
export function insertion(nodes: NodeMap, type: NodeType, edge: WorkflowEdge): { id: string; ops: Operation[] } | null {
  const [source, target] = [nodes.get(edge.source), nodes.get(edge.target)];
  const [input] = inputsOf(type);
  const [output] = type.outputs;
  if (!source || !target || input === undefined || output === undefined) return null;
  const middle = { x: (source.position.x + target.position.x) / 2, y: (source.position.y + target.position.y) / 2 };
  const { id, ops } = addition(nodes, type, middle);
  const { source_handle, target_handle } = edge;
  return {
    id,
    ops: [
      { op: "edge.remove", id: edge.id },
      ...ops,
      { op: "edge.add", source: edge.source, source_handle, target: id, target_handle: input },
      { op: "edge.add", source: id, source_handle: output, target: edge.target, target_handle },
      ...madeRoom(source, target, nodes),
    ],
  };
}

/** Everything from the target on moves to the right when there is no room for a node before it. */
function madeRoom(source: WorkflowNode, target: WorkflowNode, nodes: NodeMap): Operation[] {
  const missing = source.position.x + 2 * (NODE_WIDTH + GAP / 2) - target.position.x;
  if (missing <= 0) return [];
  const right = [...nodes.values()].filter(({ position }) => position.x >= target.position.x);
  return moves(new Map(right.map(({ id, position }) => [id, { x: position.x + missing, y: position.y }])), nodes);
}

function wireTo(end: LooseEnd, id: string, type: NodeType): Wire | null {
  if (end.side === "source") {
    const [input] = inputsOf(type);
    return input === undefined
      ? null
      : { source: end.node, source_handle: end.handle, target: id, target_handle: input };
  }
  const [output] = type.outputs;
  return output === undefined
    ? null
    : { source: id, source_handle: output, target: end.node, target_handle: end.handle };
}

function freshName(nodes: NodeMap, name: string): string {
  const taken = new Set(Array.from(nodes.values(), (node) => node.name));
  if (!taken.has(name)) return name;
  let number = 2;
  while (taken.has(`${name} ${number}`)) number += 1;
  return `${name} ${number}`;
}

/** Why two ends cannot be connected; null when they can. */
export function obstacle(edges: EdgeMap, wire: Wire): string | null {
  if (wire.source === wire.target) return "A node cannot follow itself.";
  for (const edge of edges.values()) {
    const same = edge.source === wire.source && edge.target === wire.target;
    if (same && edge.source_handle === wire.source_handle && edge.target_handle === wire.target_handle) {
      return "These two are connected already.";
    }
  }
  return reaches(edges, wire.target, wire.source) ? "That would be a circle; use a loop instead." : null;
}

function reaches(edges: EdgeMap, from: string, to: string): boolean {
  const next = new Map<string, string[]>();
  for (const { source, target } of edges.values()) next.set(source, [...(next.get(source) ?? []), target]);
  const seen = new Set([from]);
  for (const id of seen) {
    if (id === to) return true;
    for (const target of next.get(id) ?? []) seen.add(target);
  }
  return false;
}

export function removal(edges: EdgeMap, nodeIds: readonly string[], edgeIds: readonly string[]): Operation[] {
  const gone = new Set(nodeIds);
  const loose = edgeIds.filter((id) => {
    const edge = edges.get(id);
    return edge && !gone.has(edge.source) && !gone.has(edge.target);
  });
  return [
    ...loose.map((id) => ({ op: "edge.remove" as const, id })),
    ...nodeIds.map((id) => ({ op: "node.remove" as const, id })),
  ];
}

export function moves(places: ReadonlyMap<string, Place>, nodes: NodeMap): Operation[] {
  return Array.from(places).flatMap(([id, { x, y }]): Operation[] => {
    const before = nodes.get(id)?.position;
    if (!before || (before.x === x && before.y === y)) return [];
    return [{ op: "node.set", id, path: ["position"], value: { x, y } }];
  });
}

/** Disables all of them, or enables them when all are disabled. */
export function toggling(nodes: NodeMap, ids: readonly string[]): Operation[] {
  const found = ids.flatMap((id) => nodes.get(id) ?? []);
  const value = found.some(({ disabled }) => !disabled);
  return found.map(({ id }) => ({ op: "node.set", id, path: ["disabled"], value }));
}

/** Where a new node stands that follows another one: to its right, below what is there already. */
export function placeAfter(nodes: NodeMap, edges: EdgeMap, from: WorkflowNode): Place {
  const x = from.position.x + NODE_WIDTH + GAP;
  const followers = [...edges.values()].filter(({ source }) => source === from.id);
  const below = followers.flatMap(({ target }) => nodes.get(target)?.position.y ?? []);
  return free(nodes, { x, y: below.length > 0 ? Math.max(...below) + NODE_HEIGHT + GRID * 2 : from.position.y });
}

/** The place, or the first one below it where no node stands. */
export function free(nodes: NodeMap, { x, y }: Place): Place {
  const taken = [...nodes.values()].filter(({ position }) => Math.abs(position.x - x) < NODE_WIDTH);
  const step = NODE_HEIGHT + GRID * 2;
  let place = y;
  while (taken.some(({ position }) => Math.abs(position.y - place) < step)) place += step;
  return { x, y: place };
}

/** The output from which a new node is connected when only the node is named: the first that nothing follows. */
export function looseOutput(type: NodeType | undefined, node: WorkflowNode, edges: EdgeMap): LooseEnd | undefined {
  const outputs = outputsOf(type, node);
  const used = new Set(
    [...edges.values()].filter(({ source }) => source === node.id).map((edge) => edge.source_handle),
  );
  const handle = outputs.find((output) => !used.has(output)) ?? outputs[0];
  return handle === undefined ? undefined : { node: node.id, handle, side: "source" };
}
