import { useStoreApi, useUpdateNodeInternals, ViewportPortal } from "@xyflow/react";
import { type CSSProperties, memo, useEffect, useLayoutEffect, useMemo, useRef } from "react";
import { useEditor } from "./editor";
import classes from "./FarView.module.css";
import { linesOf, type WireLook } from "./farLines";
import { type Shape, type Shown, shapesOf } from "./farShapes";
import { type FlowEdge, type FlowNode, isSame, ORIGIN } from "./graph";
import { usePart } from "./store";

/**
 * Many nodes that are seen from afar, with their wires, as one picture of a few paths: the browser's work for a frame
 * grows with the things that it paints. What is dragged is a picture of its own, so that the other one stays as it is.
 */
export function FarView() {
  const far = usePart(useEditor().far, (isFar) => isFar);
  useHandlesFound(far);
  return (
    far && (
      <ViewportPortal>
        <Pictures />
      </ViewportPortal>
    )
  );
}

/** From afar nodes show no handles. Where they are, React Flow forgets when it draws a node without: it looks again. */
function useHandlesFound(far: boolean): void {
  const flow = useStoreApi();
  const measure = useUpdateNodeInternals();
  useEffect(() => {
    if (far) return;
    const all = Array.from(flow.getState().nodeLookup.values(), ({ id, internals }) => ({
      id,
      at: internals.handleBounds,
    }));
    measure(all.filter(({ at }) => at && !at.source && !at.target).map(({ id }) => id));
  }, [far, flow, measure]);
}

function Pictures() {
  const scene = useScene();
  const dragged = usePart(useEditor().graph.shifts, (shifts) => [...shifts.keys()].join());
  const { resting, moving } = useMemo(() => parted(scene, new Set(dragged.split(","))), [scene, dragged]);
  return (
    <>
      <svg className={classes.picture} role="img" aria-label={`${scene.edges.length} wires`}>
        {resting.map(({ id, edges }) => (
          <Wires key={id} edges={edges} scene={scene} />
        ))}
        {resting.map(({ id, nodes }) => (
          <Nodes key={id} nodes={nodes} shown={scene.shown} />
        ))}
      </svg>
      {dragged && <Moving {...moving} scene={scene} />}
    </>
  );
}

/** Drawn once, and then moved without rendering. */
function Moving({ nodes, edges, scene }: Part & { scene: Scene }) {
  const { shifts } = useEditor().graph;
  const held = useRef<SVGSVGElement>(null);
  const wires = useRef<SVGSVGElement>(null);
  useLayoutEffect(() => {
    const move = () => {
      const [by = ORIGIN] = shifts.get().values(); // all that is dragged moves together
      if (held.current) held.current.style.translate = `${by.x}px ${by.y}px`;
      const lines = linesOf(edges, scene.nodes, { ...scene.shown, shifts: shifts.get() });
      for (const path of wires.current?.children ?? []) path.setAttribute("d", lines.get(lookOf(path)) ?? "");
    };
    move();
    return shifts.subscribe(move);
  }, [shifts, edges, scene]);
  return (
    <>
      <svg ref={wires} className={classes.picture} data-moving aria-hidden>
        <Wires edges={edges} scene={scene} />
      </svg>
      <svg ref={held} className={classes.picture} data-moving aria-hidden>
        <Nodes nodes={nodes} shown={scene.shown} />
      </svg>
    </>
  );
}

interface Part {
  readonly nodes: readonly FlowNode[];
  readonly edges: readonly FlowEdge[];
}

interface Scene extends Part {
  readonly shown: Shown;
}

function useScene(): Scene {
  const editor = useEditor();
  const { types } = editor;
  const nodes = usePart(editor.graph.nodes, (all) => all);
  const edges = usePart(editor.graph.edges, (all) => all);
  const run = usePart(editor.run, (all) => all);
  const problems = usePart(editor.problems, (all) => all);
  const selecting = usePart(editor.people, (people) => people.selecting);
  const shown = useMemo(() => ({ types, run, problems, selecting }), [types, run, problems, selecting]);
  return useMemo(() => ({ nodes, edges, shown }), [nodes, edges, shown]);
}

const SLICE = 50;

/** What lies still, in slices that mostly stay as they are, and what is dragged with the wires that end there. */
function parted({ nodes, edges }: Part, dragged: ReadonlySet<string>) {
  const held = ({ id }: FlowNode) => dragged.has(id);
  const moves = ({ source, target }: FlowEdge) => dragged.has(source) || dragged.has(target);
  const count = Math.ceil(Math.max(nodes.length, edges.length) / SLICE);
  const resting = Array.from({ length: count }, (_, id) => ({
    id,
    nodes: nodes.slice(id * SLICE, (id + 1) * SLICE).filter((node) => !held(node)),
    edges: edges.slice(id * SLICE, (id + 1) * SLICE).filter((edge) => !moves(edge)),
  }));
  return { resting, moving: { nodes: nodes.filter(held), edges: edges.filter(moves) } };
}

function Wires({ edges, scene: { nodes, shown } }: { edges: readonly FlowEdge[]; scene: Scene }) {
  const lines = useMemo(() => linesOf(edges, nodes, shown), [edges, nodes, shown]);
  return Array.from(lines, ([look, line]) => <path key={look} data-part="wire" data-look={look} d={line} />);
}

interface NodesProps {
  readonly nodes: readonly FlowNode[];
  readonly shown: Shown;
}

const Nodes = memo(
  function Nodes({ nodes, shown }: NodesProps) {
    return shapesOf(nodes, shown).map((shape) => (
      <path
        key={`${shape.part} ${shape.look}`}
        data-part={shape.part}
        data-look={shape.look}
        d={shape.data}
        style={styleOf(shape)}
      />
    ));
  },
  (before, now) => before.shown === now.shown && isSame(before.nodes, now.nodes),
);

function lookOf(path: Element): WireLook {
  return (path as SVGPathElement).dataset.look as WireLook;
}

function styleOf({ part, look }: Shape): CSSProperties | undefined {
  if (part === "ring") return { "--ring": look } as CSSProperties;
  if (part === "tile" && look) return { "--hue": look } as CSSProperties;
  return undefined;
}
