/** How large a node is drawn, and where wires leave and enter it. */
import { NODE_HEIGHT } from "./edits";

const ROW = 25;
const PADDING = 14;

export function heightOf(outputs: number): number {
  return Math.max(NODE_HEIGHT, outputs * ROW + PADDING);
}

/** How far down its right side an output stands: from 0 at the top to 1. */
export function placeOf(index: number, outputs: number): number {
  return (index + 0.5) / outputs;
}
