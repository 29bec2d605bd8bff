import { NODE_HEIGHT, NODE_WIDTH, onGrid } from "./edits";
import type { FlowEdge, FlowNode, Place } from "./graph";

export interface Boxes {
  nodes: { id: string; width: number; height: number }[];
  edges: { source: string; target: string }[];
}

/** Where all nodes stand when they are put in order from left to right; the work is done beside the page. */
export async function arranged(nodes: FlowNode[], edges: FlowEdge[]): Promise<ReadonlyMap<string, Place>> {
  const boxes: Boxes = {
    nodes: nodes.map(({ id, measured }) => ({
      id,
      width: measured?.width ?? NODE_WIDTH,
      height: measured?.height ?? NODE_HEIGHT,
    })),
    edges: edges.map(({ source, target }) => ({ source, target })),
  };
  const worker = new Worker(new URL("./layout.worker.ts", import.meta.url), { type: "module" });
  try {
    const places = await new Promise<[string, Place][]>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message || "The nodes could not be arranged."));
      worker.postMessage(boxes);
    });
    return new Map(places.map(([id, place]) => [id, onGrid(place)]));
  } finally {
    worker.terminate();
  }
}
