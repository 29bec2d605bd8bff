import { Graph, layout } from "@dagrejs/dagre";
import type { Boxes } from "./layout";

const BETWEEN_RANKS = 96;
const BETWEEN_NODES = 40;

self.onmessage = ({ data: { nodes, edges } }: MessageEvent<Boxes>) => {
  const graph = new Graph();
  graph.setGraph({ rankdir: "LR", ranksep: BETWEEN_RANKS, nodesep: BETWEEN_NODES });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { id, width, height } of nodes) graph.setNode(id, { width, height });
  for (const { source, target } of edges) graph.setEdge(source, target);
  layout(graph);
  self.postMessage(
    nodes.map(({ id, width, height }) => {
      const { x = 0, y = 0 } = graph.node(id) as { x?: number; y?: number };
      return [id, { x: x - width / 2, y: y - height / 2 }];
    }),
  );
};
