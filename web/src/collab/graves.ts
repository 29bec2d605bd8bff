// Nodes that were removed while one looked on, with their edges: so that they can be brought back.

import { completeNode, type WorkflowNode } from "./definition.ts";
import type { FieldKey } from "./fields.ts";
import { returning } from "./inverse.ts";
import type { Operation } from "./operations.ts";
import { getAt } from "./paths.ts";
import { load, type Working } from "./state.ts";

const MOST_GRAVES = 200;

export class Graves {
  readonly #ops = new Map<string, readonly Operation[]>();

  /** To be called before a committed operation is applied. */
  note(work: Working, op: Operation): void {
    for (const id of removedBy(work, op)) {
      this.#ops.delete(id);
      this.#ops.set(id, returning(work, id));
      const [oldest] = this.#ops.keys();
      if (this.#ops.size > MOST_GRAVES && oldest !== undefined) this.#ops.delete(oldest);
    }
  }

  /** The operations that bring the node back as it was when it was last removed. */
  restoring(id: string): readonly Operation[] | null {
    return this.#ops.get(id) ?? null;
  }

  /** A removed node as it was. */
  node(id: string): WorkflowNode | null {
    const add = this.#ops.get(id)?.[0];
    return add?.op === "node.add" ? completeNode(add) : null;
  }

  /** The text that a removed node had in a field. */
  textAt({ id, path }: FieldKey): string | null {
    const node = this.node(id);
    const text = node === null ? undefined : getAt(node, path);
    return typeof text === "string" ? text : null;
  }
}

function removedBy(work: Working, op: Operation): string[] {
  if (op.op === "node.remove") return work.nodes.has(op.id) ? [op.id] : [];
  if (op.op !== "draft.replace") return [];
  const { nodes } = load(op.definition);
  return [...work.nodes.keys()].filter((id) => !nodes.has(id));
}
