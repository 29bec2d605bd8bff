/** Nodes as they are drawn from afar: a box, a tile in the colour of its category, and bars instead of words. */
import type { RunView } from "../runs/runView";
import type { Types } from "./editor";
import { NODE_WIDTH } from "./edits";
import { type FlowNode, splitUsed } from "./graph";
import { kindOf, shownOutputs } from "./handles";
import { hueOf } from "./NodeIcon";
import type { People } from "./people";
import type { ProblemsByNode } from "./problems";
import { heightOf } from "./shape";

/** In the order in which they are painted. */
const PARTS = ["ring", "box", "tile", "name", "kind", "mark"] as const;

/** Everything of one part that looks the same, as the data of one path. */
export interface Shape {
  readonly part: (typeof PARTS)[number];
  /** Of a tile its hue, of a ring its colour, of the others the state of the node. */
  readonly look: string;
  readonly data: string;
}

export interface Shown {
  readonly types: Types;
  readonly run: RunView;
  readonly problems: ProblemsByNode;
  readonly selecting: People["selecting"];
}

const PADDING = 13;
const TILE = 36;
const WORDS = PADDING + TILE + 11;
const LONGEST = NODE_WIDTH - WORDS - PADDING;
const LETTER = 6.5;
const CORNER = 14;
const RING = 7;

export function shapesOf(nodes: readonly FlowNode[], shown: Shown): Shape[] {
  const data = new Map<string, string>();
  const draw = (part: Shape["part"], look: string, piece: string) => {
    const key = `${part} ${look}`;
    data.set(key, (data.get(key) ?? "") + piece);
  };
  for (const node of nodes) drawNode(node, shown, draw);
  const shapes = Array.from(data, ([key, all]): Shape => {
    const [part] = key.split(" ", 1) as [Shape["part"]];
    return { part, look: key.slice(part.length + 1), data: all };
  });
  return shapes.sort((one, other) => PARTS.indexOf(one.part) - PARTS.indexOf(other.part));
}

type Draw = (part: Shape["part"], look: string, data: string) => void;

function drawNode({ id, position, selected, data: { node, used } }: FlowNode, shown: Shown, draw: Draw): void {
  const type = shown.types.get(node.type);
  const { x, y } = position;
  const height = heightOf(shownOutputs(type, node, splitUsed(used)).length);
  const middle = y + height / 2;
  const status = shown.run.nodes.get(id)?.status;
  const state = node.disabled ? "disabled" : (status ?? "");
  const entry = type?.entry_point ? height / 2 : CORNER;
  const ring = selected ? "var(--chosen)" : shown.selecting.get(id)?.[0]?.color;
  if (ring) draw("ring", ring, box(x - RING, y - RING, NODE_WIDTH + 2 * RING, height + 2 * RING, CORNER + RING));
  draw("box", state, box(x, y, NODE_WIDTH, height, CORNER, entry));
  draw(
    "tile",
    node.disabled ? "" : String(hueOf(type?.category ?? "")),
    box(x + PADDING, middle - TILE / 2, TILE, TILE, 10),
  );
  draw("name", state, box(x + WORDS, middle - 13, lengthOf(node.name || id), 10, 5));
  draw("kind", state, box(x + WORDS, middle + 5, lengthOf(kindOf(node, type)), 8, 4));
  const mark = status ?? (shown.problems.has(id) ? "problem" : undefined);
  if (mark) draw("mark", mark, box(x + 12, y - 14, 28, 28, 14));
}

function lengthOf(text: string): number {
  return Math.min(Math.max(text.length, 2) * LETTER, LONGEST);
}

/** A rectangle with round corners, at the left others than at the right. */
function box(x: number, y: number, width: number, height: number, right: number, left = right): string {
  const [top, bottom] = [
    `h${width - left - right}a${right} ${right} 0 0 1 ${right} ${right}`,
    `h${left + right - width}`,
  ];
  const side = `v${height - 2 * right}a${right} ${right} 0 0 1 ${-right} ${right}`;
  const back = `a${left} ${left} 0 0 1 ${-left} ${-left}v${2 * left - height}a${left} ${left} 0 0 1 ${left} ${-left}z`;
  return `M${x + left} ${y}${top}${side}${bottom}${back}`;
}
