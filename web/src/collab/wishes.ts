// What one wants may have been done by somebody else already: then it is not sent, and not refused either.

import { completeEdge } from "./definition.ts";
import { edgesAt } from "./edges.ts";
import type { Operation } from "./operations.ts";
import { type Pending, replaceOps } from "./queue.ts";
import type { Working } from "./state.ts";

/** One's own operations that want what somebody else has just done, and those that undo it. */
export type Wish = { readonly same: (op: Operation) => boolean; readonly opposite: (op: Operation) => boolean };

/** What fulfils the same as an operation of somebody else; to be asked before that is applied. */
export function wishFor(work: Working, op: Operation): Wish | null {
  switch (op.op) {
    case "node.remove": {
      const edges = new Set(edgesAt(work, op.id).map((edge) => edge.id));
      return {
        same: (own) =>
          (own.op === "node.remove" && own.id === op.id) || (own.op === "edge.remove" && edges.has(own.id)),
        opposite: (own) => own.op === "node.add" && own.id === op.id,
      };
    }
    case "edge.remove":
      return { same: (own) => own.op === "edge.remove" && own.id === op.id, opposite: (own) => adds(own, op.id) };
    case "edge.add": {
      const { id, source, target } = completeEdge(op);
      return {
        same: (own) => adds(own, id),
        opposite: (own) =>
          (own.op === "edge.remove" && own.id === id) ||
          (own.op === "node.remove" && (own.id === source || own.id === target)),
      };
    }
    default:
      return null;
  }
}

function adds(op: Operation, edge: string): boolean {
  return op.op === "edge.add" && completeEdge(op).id === edge;
}

/** Forget what is done already, so that it is not refused for that. */
export function forgetFulfilled(pending: Pending[], wish: Wish): void {
  let over = false;
  for (const entry of pending) {
    const kept = entry.ops.filter((op) => {
      over = over || wish.opposite(op) || op.op === "draft.replace";
      return over || !wish.same(op);
    });
    replaceOps(entry, kept);
  }
}
