// Edges and the nodes they lead to.

import { completeEdge, type WorkflowEdge } from "./definition.ts";
import type { EdgeMap } from "./state.ts";

/** The edge with its ends at the new id, under the id that follows from them. */
export function followed(edge: WorkflowEdge, from: string, to: string): WorkflowEdge {
  if (edge.source !== from && edge.target !== from) return edge;
  return completeEdge({
    ...edge,
    source: edge.source === from ? to : edge.source,
    target: edge.target === from ? to : edge.target,
  });
}

export function edgesAt(state: { readonly edges: EdgeMap }, id: string): WorkflowEdge[] {
  return Array.from(state.edges.values()).filter((edge) => edge.source === id || edge.target === id);
}
