import "@xyflow/react/dist/base.css";
import { useComputedColorScheme } from "@mantine/core";
import {
  Background,
  BackgroundVariant,
  type Connection,
  ConnectionMode,
  type Edge,
  type FinalConnectionState,
  MiniMap,
  ReactFlow,
  type ReactFlowInstance,
  SelectionMode,
  useReactFlow,
  type Viewport,
} from "@xyflow/react";
import {
  type ClipboardEvent,
  type KeyboardEvent,
  type MouseEvent,
  memo,
  type PointerEvent,
  useEffect,
  useMemo,
  useRef,
} from "react";
import classes from "./Canvas.module.css";
import { commands } from "./commands";
import { type Editor, useEditor, useShown } from "./editor";
import type { Wire } from "./edits";
import { GRID, NODE_HEIGHT, NODE_WIDTH, obstacle } from "./edits";
import { FarView } from "./FarView";
import type { FlowEdge, FlowNode, Place } from "./graph";
import { inputsOf } from "./handles";
import { isDirection } from "./navigation";
import { PeerCursors } from "./PeerCursors";
import { StepNode } from "./StepNode";
import { commandOf, isTyping } from "./shortcuts";
import { usePart } from "./store";
import { WireEdge } from "./WireEdge";

type Flow = ReactFlowInstance<FlowNode, FlowEdge>;

const NODE_TYPES = { step: StepNode };
const EDGE_TYPES = { wire: WireEdge };
const SNAP: [number, number] = [GRID, GRID];
const PAN_BUTTONS = [1, 2];
const FIT = { maxZoom: 1, padding: 0.1, duration: 200 };
const PRO = { hideAttribution: true };
const MAP = { width: 168, height: 112 };
/** Seen from there, names cannot be read. */
const FAR = 0.45;
/** From so many nodes on, only those in view are drawn, and without details from afar. */
const MANY = 200;
const NO_EDGES: FlowEdge[] = [];

/** Nodes and wires, drawn by React Flow; what there is comes from the draft alone. */
export function Canvas() {
  const editor = useEditor();
  const scheme = useComputedColorScheme("light");
  const nodes = usePart(editor.graph.nodes, (all) => all);
  const far = usePart(editor.far, (isFar) => isFar);
  const edges = usePart(editor.graph.edges, (all) => (far ? NO_EDGES : all));
  const current = usePart(editor.graph.selection, (ids) => ids.at(-1));
  const mayEdit = useShown(({ role }) => role !== "viewer");
  const frame = useRef<HTMLDivElement>(null);
  const flow = useFlow(editor, frame);
  // Nodes and wires are drawn again when a handler is another one, so these stay the same.
  const handlers = useMemo(() => handlersOf(editor, flow), [editor, flow]);
  return (
    <ReactFlow
      ref={frame}
      className={classes.canvas}
      aria-label="Canvas: arrow keys go from node to node, Tab adds one, question mark lists all keys"
      aria-activedescendant={current && `node-${current}`}
      tabIndex={0}
      nodes={nodes}
      edges={edges}
      nodeTypes={NODE_TYPES}
      edgeTypes={EDGE_TYPES}
      {...handlers}
      nodesDraggable={mayEdit}
      nodesConnectable={mayEdit}
      nodesFocusable={false}
      edgesFocusable={false}
      disableKeyboardA11y
      deleteKeyCode={null}
      connectOnClick={false}
      connectionMode={ConnectionMode.Strict}
      connectionRadius={36}
      selectionOnDrag
      selectionMode={SelectionMode.Partial}
      panOnDrag={PAN_BUTTONS}
      panOnScroll
      zoomOnDoubleClick={false}
      snapToGrid
      snapGrid={SNAP}
      minZoom={0.1}
      maxZoom={2}
      fitView
      fitViewOptions={FIT}
      onlyRenderVisibleElements={nodes.length > MANY}
      colorMode={scheme}
      proOptions={PRO}
    >
      <Furniture />
    </ReactFlow>
  );
}

const Furniture = memo(function Furniture() {
  return (
    <>
      <Background variant={BackgroundVariant.Dots} gap={GRID * 1.5} size={1.4} className={classes.dots} />
      <MiniMap
        pannable
        zoomable
        style={MAP}
        className={classes.map}
        ariaLabel="Map of the workflow"
        nodeClassName={classes.mapNode}
        nodeBorderRadius={14}
      />
      <FarView />
      <PeerCursors />
    </>
  );
});

/** What the canvas does about keys, the clipboard, the pointer, wires and drags. */
function handlersOf(editor: Editor, flow: Flow) {
  let pointer: Place | null = null;
  return {
    onNodesChange: editor.graph.changeNodes,
    onEdgesChange: editor.graph.changeEdges,
    onKeyDown: (event: KeyboardEvent) => press(editor, event),
    onCopy: (event: ClipboardEvent) => copy(editor, event, false),
    onCut: (event: ClipboardEvent) => copy(editor, event, true),
    onPaste: (event: ClipboardEvent) => {
      if (isTyping(event.target)) return;
      const at = pointer ? flow.screenToFlowPosition(pointer) : undefined;
      if (editor.paste(event.clipboardData.getData("text/plain"), at)) event.preventDefault();
    },
    onPointerMove: ({ clientX, clientY }: PointerEvent) => {
      pointer = { x: clientX, y: clientY };
      const { x, y } = flow.screenToFlowPosition(pointer, { snapToGrid: false });
      editor.draft.setPresence({ cursor: { x: Math.round(x), y: Math.round(y) } });
    },
    onPointerLeave: () => {
      pointer = null;
      editor.draft.setPresence({ cursor: null });
    },
    onConnect: (connection: Connection) => void editor.connect(wireOf(connection)),
    isValidConnection: (connection: Connection | Edge) => obstacle(editor.edges, wireOf(connection)) === null,
    onConnectEnd: (event: globalThis.MouseEvent | TouchEvent, state: FinalConnectionState) =>
      letLoose(editor, state, flow.screenToFlowPosition(pointOf(event))),
    onViewportChange: ({ zoom }: Viewport) => {
      editor.far.set(zoom < FAR && editor.nodes.size > MANY);
      editor.graph.settle();
    },
    onNodeDrag: (_: unknown, __: unknown, dragged: FlowNode[]) => editor.dragging(dragged),
    onNodeDragStop: (_: unknown, __: unknown, dragged: FlowNode[]) => editor.dropped(dragged),
    onSelectionDrag: (_: unknown, dragged: FlowNode[]) => editor.dragging(dragged),
    onSelectionDragStop: (_: unknown, dragged: FlowNode[]) => editor.dropped(dragged),
    // React Flow leaves a selection of several as it is when one of them is clicked.
    onNodeClick: ({ shiftKey, ctrlKey, metaKey }: MouseEvent, { id }: FlowNode) => {
      if (!shiftKey && !ctrlKey && !metaKey) editor.graph.select([id]);
    },
    onNodeDoubleClick: (_: unknown, { id }: FlowNode) => editor.open(id),
    onEdgeMouseEnter: (_: unknown, { id }: FlowEdge) => editor.hoveredEdge.set(id),
    onEdgeMouseLeave: () => editor.hoveredEdge.set(null),
  };
}

/** Gives the editor a hand on what is drawn. */
function useFlow(editor: Editor, frame: React.RefObject<HTMLDivElement | null>): Flow {
  const flow = useReactFlow<FlowNode, FlowEdge>();
  useEffect(() => {
    editor.viewport = {
      fit: (ids) => void flow.fitView({ ...FIT, ...(ids && near(flow.getZoom(), ids)) }),
      reveal: (id) => {
        const node = flow.getInternalNode(id);
        const { left, right, top, bottom } = frame.current?.getBoundingClientRect() ?? new DOMRect();
        if (!node) return;
        const { x, y } = flow.flowToScreenPosition(node.internals.positionAbsolute);
        const isSeen = x > left && y > top && x + NODE_WIDTH * flow.getZoom() < right && y + NODE_HEIGHT < bottom;
        if (!isSeen) void flow.fitView({ ...FIT, ...near(flow.getZoom(), [id]) });
      },
      zoom: (by) => void (by === "in" ? flow.zoomIn({ duration: 150 }) : flow.zoomOut({ duration: 150 })),
      middle: () => {
        const { left, top, width, height } = frame.current?.getBoundingClientRect() ?? new DOMRect();
        return flow.screenToFlowPosition({ x: left + width / 2, y: top + height / 2 });
      },
      focus: () => frame.current?.focus({ preventScroll: true }),
    };
    editor.viewport.focus();
    return () => {
      editor.viewport = null;
    };
  }, [editor, flow, frame]);
  return flow;
}

/** The nodes in the middle, as large as they are now. */
function near(zoom: number, ids: readonly string[]) {
  return { nodes: ids.map((id) => ({ id })), maxZoom: zoom, minZoom: zoom };
}

function press(editor: Editor, event: KeyboardEvent): void {
  if (isTyping(event.target) || event.defaultPrevented) return;
  if (isDirection(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    if (event.shiftKey) editor.nudge(event.key);
    else editor.go(event.key);
    return;
  }
  const command = commandOf(event);
  if (!command) return;
  event.preventDefault();
  event.stopPropagation();
  commands[command](editor);
}

function copy(editor: Editor, event: ClipboardEvent, cut: boolean): void {
  if (isTyping(event.target)) return;
  const text = editor.copy();
  if (!text) return;
  event.preventDefault();
  event.clipboardData.setData("text/plain", text);
  if (cut) editor.remove();
}

/** A wire that was dropped: onto a node, it is connected; onto the empty canvas, a new node is chosen for it. */
function letLoose(editor: Editor, state: FinalConnectionState, at: { x: number; y: number }): void {
  const { fromNode, fromHandle, toNode, toHandle } = state;
  if (toHandle || !fromNode || !fromHandle?.id) return;
  const end = { node: fromNode.id, handle: fromHandle.id, side: fromHandle.type };
  if (!toNode) {
    const shifted = end.side === "source" ? at : { x: at.x - NODE_WIDTH, y: at.y };
    editor.dialog.set({ kind: "palette", end, at: { x: shifted.x, y: shifted.y - NODE_HEIGHT / 2 } });
    return;
  }
  const [input] = inputsOf(editor.types.get(editor.nodes.get(toNode.id)?.type ?? ""));
  if (end.side !== "source" || input === undefined) return;
  editor.connect({ source: end.node, source_handle: end.handle, target: toNode.id, target_handle: input });
}

function wireOf({ source, target, sourceHandle, targetHandle }: Connection | Edge): Wire {
  return { source, target, source_handle: sourceHandle ?? "out", target_handle: targetHandle ?? "in" };
}

function pointOf(event: globalThis.MouseEvent | TouchEvent): { x: number; y: number } {
  const { clientX: x, clientY: y } = "changedTouches" in event ? (event.changedTouches[0] as Touch) : event;
  return { x, y };
}
