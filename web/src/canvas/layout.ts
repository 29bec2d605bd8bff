import { NODE_HEIGHT, NODE_WIDTH, onGrid } from "./edits";
import type { FlowEdge, FlowNode, Place } from "./graph";

export interface Boxes {
  nodes: { id: string; width: number; height: number }[];
  /** Those that leave one node, in the order of its outputs. */
  edges: { source: string; target: string }[];
}

/** Where all nodes stand when they are put in order from left to right; the work is done beside the page. */
export async function arranged(
  nodes: FlowNode[],
  edges: FlowEdge[],
  outputs: (id: string) => readonly string[],
): Promise<ReadonlyMap<string, Place>> {
  const boxes: Boxes = {
    nodes: nodes.map(({ id, measured }) => ({
      id,
      width: measured?.width ?? NODE_WIDTH,
      height: measured?.height ?? NODE_HEIGHT,
    })),
    edges: byOutput(edges, outputs),
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

function byOutput(edges: FlowEdge[], outputs: (id: string) => readonly string[]): Boxes["edges"] {
  const place = ({ source, sourceHandle }: FlowEdge) => outputs(source).indexOf(sourceHandle ?? "out");
  return edges.toSorted((a, b) => place(a) - place(b)).map(({ source, target }) => ({ source, target }));
}
