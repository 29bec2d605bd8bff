// Nodes that were removed while one looked on, with their edges: so that they can be brought back.

import { inverseOf } from "./inverse.ts";
import type { Operation } from "./operations.ts";
import type { Working } from "./state.ts";

const MOST_GRAVES = 200;

export class Graves {
  readonly #ops = new Map<string, readonly Operation[]>();

  /** To be called before the operation is applied. */
  note(work: Working, op: Operation): void {
    if (op.op !== "node.remove" || !work.nodes.has(op.id)) return;
    this.#ops.delete(op.id);
    this.#ops.set(op.id, inverseOf(work, op));
    const [oldest] = this.#ops.keys();
    if (this.#ops.size > MOST_GRAVES && oldest !== undefined) this.#ops.delete(oldest);
  }

  /** The operations that bring the node back as it was when it was last removed. */
  restoring(id: string): readonly Operation[] | null {
    return this.#ops.get(id) ?? null;
  }
}
