import { ViewportPortal } from "@xyflow/react";
import { useMemo } from "react";
import { useEditor } from "./editor";
import classes from "./FarWires.module.css";
import { type Look, linesByLook } from "./farLines";
import type { FlowEdge } from "./graph";
import { usePart } from "./store";

/**
 * The wires of many nodes that are seen from afar, too thin there to be pointed at: all of one look are one line. Those
 * of what is dragged are drawn apart, so that the others stay as they are.
 */
export function FarWires() {
  const far = usePart(useEditor().far, (isFar) => isFar);
  if (!far) return null;
  return (
    <ViewportPortal>
      <Resting />
      <Moving />
    </ViewportPortal>
  );
}

function Resting() {
  const { graph, types, run } = useEditor();
  const nodes = usePart(graph.nodes, (all) => all);
  const edges = usePart(graph.edges, (all) => all);
  const view = usePart(run, (all) => all);
  const dragged = usePart(graph.shifts, (shifts) => [...shifts.keys()].join());
  const lines = useMemo(() => {
    const held = new Set(dragged.split(","));
    const resting = edges.filter((edge) => !touches(edge, held));
    return linesByLook(resting, { nodes, types, run: view });
  }, [nodes, edges, types, view, dragged]);
  return (
    <svg className={classes.wires} role="img" aria-label={`${edges.length} wires`}>
      <Lines lines={lines} />
    </svg>
  );
}

function Moving() {
  const { graph, types, run } = useEditor();
  const nodes = usePart(graph.nodes, (all) => all);
  const edges = usePart(graph.edges, (all) => all);
  const view = usePart(run, (all) => all);
  const shifts = usePart(graph.shifts, (all) => all);
  if (shifts.size === 0) return null;
  const moving = edges.filter((edge) => touches(edge, shifts));
  return (
    <svg className={classes.wires} data-moving aria-hidden>
      <Lines lines={linesByLook(moving, { nodes, types, run: view, shifts })} />
    </svg>
  );
}

function touches({ source, target }: FlowEdge, nodes: { has: (id: string) => boolean }): boolean {
  return nodes.has(source) || nodes.has(target);
}

function Lines({ lines }: { lines: ReadonlyMap<Look, string> }) {
  return [...lines].map(([look, line]) => <path key={look} data-look={look} d={line} />);
}
