import { ActionIcon } from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { BaseEdge, EdgeLabelRenderer, type EdgeProps, getBezierPath } from "@xyflow/react";
import { memo, useRef } from "react";
import { edgeRun } from "../runs/runView";
import { useEditor } from "./editor";
import { type FlowEdge, ORIGIN, type Place } from "./graph";
import { useShifts } from "./shifts";
import { usePart } from "./store";
import classes from "./WireEdge.module.css";

const GRIP = 22;

/** A wire from one node to another; whoever points at it can put a node into it or cut it. */
export const WireEdge = memo(function WireEdge(props: EdgeProps<FlowEdge>) {
  const { id, source, target, sourceHandleId, selected } = props;
  const editor = useEditor();
  const run = usePart(editor.run, (view) => edgeRun(view, { source, target, sourceHandle: sourceHandleId }));
  const hovered = usePart(editor.hoveredEdge, (edge) => edge === id);
  const [path, x, y] = getBezierPath(props);
  const group = useRef<SVGGElement>(null);
  useShifts(editor.graph, [source, target], ([from, to]) => {
    const line = group.current?.firstElementChild;
    line?.setAttribute("d", getBezierPath(shifted(props, from, to))[0]);
    line?.toggleAttribute("data-moving", !!(from || to));
  });
  return (
    <>
      <g ref={group}>
        <BaseEdge
          path={path}
          interactionWidth={GRIP}
          className={classes.wire}
          data-run={run ?? undefined}
          data-active={selected || hovered || undefined}
        />
      </g>
      {(hovered || selected) && editor.mayEdit && (
        <EdgeLabelRenderer>
          <div
            className={`${classes.tools} nodrag nopan`}
            style={{ transform: `translate(-50%, -50%) translate(${x}px, ${y}px)` }}
            onPointerEnter={() => editor.hoveredEdge.set(id)}
            onPointerLeave={() => editor.hoveredEdge.set(null)}
          >
            <ActionIcon
              size="sm"
              variant="filled"
              color="iris"
              radius="xl"
              aria-label="Add a node here"
              onClick={() => editor.dialog.set({ kind: "palette", into: id })}
            >
              <IconPlus size={13} />
            </ActionIcon>
            <ActionIcon
              size="sm"
              variant="default"
              radius="xl"
              aria-label="Remove this connection"
              onClick={() => editor.remove([], [id])}
            >
              <IconTrash size={13} />
            </ActionIcon>
          </div>
        </EdgeLabelRenderer>
      )}
    </>
  );
});

/** The ends of a wire where its nodes are dragged. */
function shifted(ends: EdgeProps<FlowEdge>, from: Place = ORIGIN, to: Place = ORIGIN) {
  return {
    ...ends,
    sourceX: ends.sourceX + from.x,
    sourceY: ends.sourceY + from.y,
    targetX: ends.targetX + to.x,
    targetY: ends.targetY + to.y,
  };
}
