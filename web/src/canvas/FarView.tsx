import { ViewportPortal } from "@xyflow/react";
import { type CSSProperties, type ReactNode, useMemo } from "react";
import { useEditor } from "./editor";
import classes from "./FarView.module.css";
import { linesOf } from "./farLines";
import { type Shape, type Shown, shapesOf } from "./farShapes";
import type { FlowEdge, FlowNode } from "./graph";
import { usePart } from "./store";

/**
 * Many nodes that are seen from afar, with their wires, as one picture of a few paths: the browser's work for a frame
 * grows with the things that it paints. What is dragged is a picture of its own, so that the other one stays as it is.
 */
export function FarView() {
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
  const scene = useScene();
  const dragged = usePart(useEditor().graph.shifts, (shifts) => [...shifts.keys()].join());
  const picture = useMemo(() => {
    const moving = new Set(dragged.split(","));
    const nodes = scene.nodes.filter(({ id }) => !moving.has(id));
    return pictureOf(
      nodes,
      scene.edges.filter((edge) => !touches(edge, moving)),
      scene,
    );
  }, [scene, dragged]);
  return (
    <svg className={classes.picture} role="img" aria-label={`${scene.edges.length} wires`}>
      {picture}
    </svg>
  );
}

function Moving() {
  const scene = useScene();
  const shifts = usePart(useEditor().graph.shifts, (all) => all);
  if (shifts.size === 0) return null;
  const nodes = scene.nodes.filter(({ id }) => shifts.has(id));
  const edges = scene.edges.filter((edge) => touches(edge, shifts));
  return (
    <svg className={classes.picture} data-moving aria-hidden>
      {pictureOf(nodes, edges, { ...scene, shifts })}
    </svg>
  );
}

interface Scene extends Shown {
  readonly nodes: readonly FlowNode[];
  readonly edges: readonly FlowEdge[];
}

function useScene(): Scene {
  const editor = useEditor();
  const { types } = editor;
  const nodes = usePart(editor.graph.nodes, (all) => all);
  const edges = usePart(editor.graph.edges, (all) => all);
  const run = usePart(editor.run, (all) => all);
  const problems = usePart(editor.problems, (all) => all);
  const selecting = usePart(editor.people, (people) => people.selecting);
  return useMemo(
    () => ({ nodes, edges, types, run, problems, selecting }),
    [nodes, edges, types, run, problems, selecting],
  );
}

function touches({ source, target }: FlowEdge, nodes: { has: (id: string) => boolean }): boolean {
  return nodes.has(source) || nodes.has(target);
}

/** These nodes and wires; the wires may end at any other node of the scene. */
function pictureOf(nodes: readonly FlowNode[], edges: readonly FlowEdge[], scene: Scene): ReactNode {
  return (
    <>
      {Array.from(linesOf(edges, scene.nodes, scene), ([look, line]) => (
        <path key={look} data-part="wire" data-look={look} d={line} />
      ))}
      {shapesOf(nodes, scene).map((shape) => (
        <path
          key={`${shape.part} ${shape.look}`}
          data-part={shape.part}
          data-look={shape.look}
          d={shape.data}
          style={styleOf(shape)}
        />
      ))}
    </>
  );
}

function styleOf({ part, look }: Shape): CSSProperties | undefined {
  if (part === "ring") return { "--ring": look } as CSSProperties;
  if (part === "tile" && look) return { "--hue": look } as CSSProperties;
  return undefined;
}
