// Nodes under other ids, in edits that wait.

import { completeEdge, freshId, type WorkflowEdge } from "./definition.ts";
import { followed } from "./edges.ts";
import { type Renaming, renamed } from "./names.ts";
import type { NodeAdd, Operation } from "./operations.ts";
import { type Pending, replaceOps } from "./queue.ts";
import type { DraftState, Working } from "./state.ts";

/**
 * New nodes of one's own whose id others have taken get a free one, and so does what waits behind them. Answers how
 * they were renamed.
 */
export function avoidTakenIds(work: Working, pending: Pending[], view: DraftState): Renaming[] {
  const renamings: Renaming[] = [];
  const freed = new Set<string>();
  for (const [index, entry] of pending.entries()) {
    for (const [at, op] of entry.ops.entries()) {
      if (op.op === "draft.replace") return renamings;
      if (op.op === "node.remove" || op.op === "node.rename") freed.add(op.id);
      if (op.op === "node.add" && work.nodes.has(op.id) && !freed.has(op.id)) {
        const renaming = awayFrom(work, pending, op, view);
        rewriteFrom(pending, index, at, renaming);
        renamings.push(renaming);
      }
    }
  }
  return renamings;
}

function awayFrom(work: Working, pending: Pending[], add: NodeAdd, view: DraftState): Renaming {
  const own = pending.flatMap((entry) => entry.ops);
  const named = new Set(own.flatMap(namedBy));
  const taken = { has: (id: string) => work.nodes.has(id) || view.nodes.has(id) || named.has(id) };
  const edges = own.flatMap((op) => (op.op === "edge.add" ? [completeEdge(op)] : []));
  return renamingOf(add.id, freshId(taken, add.type), edges);
}

/** The nodes that an operation names, whether they are there or not: what means one that is gone must not mean another. */
function namedBy(op: Operation): string[] {
  if (op.op === "edge.add") return [op.source, op.target];
  if (op.op === "node.rename") return [op.id, op.to];
  return "id" in op ? [op.id] : [];
}

/** Rewrite what waits from an operation of an edit on. */
export function rewriteFrom(pending: Pending[], index: number, at: number, renaming: Renaming): void {
  for (const [position, entry] of pending.entries()) {
    if (position < index) continue;
    const begin = position === index ? at : 0;
    const ops = entry.ops.map((op, place) => (place < begin ? op : renamed(op, renaming)));
    replaceOps(entry, ops);
  }
}

export function renamingOf(from: string, to: string, edges: readonly WorkflowEdge[]): Renaming {
  return { from, to, edges: new Map(edges.map((edge) => [edge.id, followed(edge, from, to).id])) };
}
