/** Wires as they are drawn from afar, too thin there to be pointed at. */
import { getBezierPath, Position } from "@xyflow/react";
import { edgeRun } from "../runs/runView";
import type { Types } from "./editor";
import { NODE_WIDTH } from "./edits";
import type { Shown } from "./farShapes";
import { type FlowEdge, type FlowNode, ORIGIN, type Place, splitUsed } from "./graph";
import { shownOutputs } from "./handles";
import { heightOf, placeOf } from "./shape";

export type WireLook = "idle" | "done" | "live" | "active";

/** The lines of these wires between any of the nodes, as the data of paths: those of one look together. */
export function linesOf(
  edges: readonly FlowEdge[],
  nodes: readonly FlowNode[],
  { types, run, shifts }: Pick<Shown, "types" | "run" | "shifts">,
): Map<WireLook, string> {
  const known = new Map(nodes.map((node) => [node.id, node]));
  const lines = new Map<WireLook, string>();
  for (const edge of edges) {
    const [source, target] = [known.get(edge.source), known.get(edge.target)];
    if (!source || !target) continue;
    const from = moved(outputOf(source, edge.sourceHandle, types), shifts?.get(edge.source));
    const to = moved(inputOf(target, types), shifts?.get(edge.target));
    const look = edge.selected ? "active" : (edgeRun(run, edge) ?? "idle");
    lines.set(look, (lines.get(look) ?? "") + line(from, to));
  }
  return lines;
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

function line(from: Place, to: Place): string {
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
