/** Wires as they are drawn from afar, too thin there to be pointed at. */
import { getBezierPath, Position } from "@xyflow/react";
import { edgeRun, type RunView } from "../runs/runView";
import type { Types } from "./editor";
import { NODE_WIDTH } from "./edits";
import { type FlowEdge, type FlowNode, ORIGIN, type Place, splitUsed } from "./graph";
import { shownOutputs } from "./handles";
import { heightOf, placeOf } from "./shape";

export type WireLook = "idle" | "done" | "live" | "active";

type Shifts = ReadonlyMap<string, Place>;

interface Scene {
  readonly types: Types;
  readonly run: RunView;
  /** How far nodes are from their positions. */
  readonly shifts?: Shifts;
}

/** The lines of these wires between any of the nodes, as the data of paths: those of one look together. */
export function linesOf(
  edges: readonly FlowEdge[],
  nodes: readonly FlowNode[],
  { types, run, shifts }: Scene,
): Map<WireLook, string> {
  const known = new Map(nodes.map((node) => [node.id, node]));
  const lines = new Map<WireLook, string>();
  for (const edge of edges) {
    const [source, target] = [known.get(edge.source), known.get(edge.target)];
    if (!source || !target) continue;
    const moves = shifts && (shifts.has(edge.source) || shifts.has(edge.target));
    const line = moves ? lineOf(edge, source, target, types, shifts) : restingLineOf(edge, source, target, types);
    const look = edge.selected ? "active" : (edgeRun(run, edge) ?? "idle");
    lines.set(look, (lines.get(look) ?? "") + line);
  }
  return lines;
}

interface Drawn {
  readonly source: FlowNode;
  readonly target: FlowNode;
  readonly line: string;
}

/** Of each wire the line that was drawn last, between nodes as they were then. */
const drawn = new WeakMap<FlowEdge, Drawn>();

function restingLineOf(edge: FlowEdge, source: FlowNode, target: FlowNode, types: Types): string {
  const last = drawn.get(edge);
  if (last?.source === source && last.target === target) return last.line;
  const line = lineOf(edge, source, target, types);
  drawn.set(edge, { source, target, line });
  return line;
}

function lineOf(edge: FlowEdge, source: FlowNode, target: FlowNode, types: Types, shifts?: Shifts): string {
  const from = moved(outputOf(source, edge.sourceHandle, types), shifts?.get(edge.source));
  const to = moved(inputOf(target, types), shifts?.get(edge.target));
  const [path] = getBezierPath({
    sourceX: from.x,
    sourceY: from.y,
    sourcePosition: Position.Right,
    targetX: to.x,
    targetY: to.y,
    targetPosition: Position.Left,
  });
  return path;
}

function outputOf({ position: { x, y }, data: { node, used } }: FlowNode, handle: unknown, types: Types): Place {
  const outputs = shownOutputs(types.get(node.type), node, splitUsed(used));
  const place = placeOf(outputs.indexOf(String(handle)), outputs.length);
  return { x: x + NODE_WIDTH, y: y + place * heightOf(outputs.length) };
}

function inputOf({ position: { x, y }, data: { node, used } }: FlowNode, types: Types): Place {
  const outputs = shownOutputs(types.get(node.type), node, splitUsed(used));
  return { x, y: y + heightOf(outputs.length) / 2 };
}

function moved({ x, y }: Place, by: Place = ORIGIN): Place {
  return { x: x + by.x, y: y + by.y };
}
