import { Graph, layout } from "@dagrejs/dagre";
import type { Boxes } from "./layout";

const BETWEEN_RANKS = 80;
const BETWEEN_NODES = 40;

self.onmessage = ({ data: { nodes, edges } }: MessageEvent<Boxes>) => {
  const graph = new Graph();
  graph.setGraph({ rankdir: "LR", ranksep: BETWEEN_RANKS, nodesep: BETWEEN_NODES });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { id, width, height } of nodes) graph.setNode(id, { width, height });
  for (const { source, target } of edges) graph.setEdge(source, target);
  layout(graph, { constraints: inOrder(edges) });
  self.postMessage(
    nodes.map(({ id, width, height }) => {
      const { x = 0, y = 0 } = graph.node(id) as { x?: number; y?: number };
      return [id, { x: x - width / 2, y: y - height / 2 }];
    }),
  );
};

/** Branches stand below each other in the order of their outputs, as far as nothing else leads to them. */
function inOrder(edges: Boxes["edges"]): { left: string; right: string }[] {
  const into = new Map<string, number>();
  for (const { target } of edges) into.set(target, (into.get(target) ?? 0) + 1);
  const followers = new Map<string, string[]>();
  for (const { source, target } of edges) {
    if (into.get(target) === 1) followers.set(source, [...(followers.get(source) ?? []), target]);
  }
  return [...followers.values()].flatMap((targets) =>
    targets.slice(1).map((right, index) => ({ left: targets[index] as string, right })),
  );
}
