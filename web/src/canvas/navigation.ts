import type { FlowNode, Place } from "./graph";

export type Direction = "ArrowLeft" | "ArrowRight" | "ArrowUp" | "ArrowDown";

const ASIDE = 2.2;
/** More than any canvas is wide: what lies rather beside than ahead is taken only when there is nothing else. */
const OUT_OF_SIGHT = 1e6;

export function isDirection(key: string): key is Direction {
  return key === "ArrowLeft" || key === "ArrowRight" || key === "ArrowUp" || key === "ArrowDown";
}

/** One step in a direction, in units. */
export function towards(direction: Direction): Place {
  const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] } as const;
  const [x, y] = by[direction];
  return { x, y };
}

/** The node that one gets to by an arrow key: the nearest in that direction, where being aside counts more than being far. */
export function neighbour(
  nodes: readonly FlowNode[],
  from: FlowNode | undefined,
  direction: Direction,
): FlowNode | undefined {
  if (!from) return topLeft(nodes);
  const ahead = towards(direction);
  let best: FlowNode | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const node of nodes) {
    const dx = node.position.x - from.position.x;
    const dy = node.position.y - from.position.y;
    const far = dx * ahead.x + dy * ahead.y;
    const aside = Math.abs(dx * ahead.y) + Math.abs(dy * ahead.x);
    const distance = far + ASIDE * aside + (aside > 2 * far ? OUT_OF_SIGHT : 0);
    if (node.id !== from.id && far > 0 && distance < least) [best, least] = [node, distance];
  }
  return best;
}

function topLeft(nodes: readonly FlowNode[]): FlowNode | undefined {
  return [...nodes].sort((a, b) => a.position.x + a.position.y - b.position.x - b.position.y)[0];
}
