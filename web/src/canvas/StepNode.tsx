import { Tooltip } from "@mantine/core";
import { IconAlertTriangle, IconCheck, IconPlus, IconX } from "@tabler/icons-react";
import { Handle, type NodeProps, Position, useUpdateNodeInternals } from "@xyflow/react";
import { type CSSProperties, memo, useEffect, useRef } from "react";
import type { Problem } from "../api/errors";
import type { NodeType } from "../api/schema";
import type { WorkflowNode } from "../collab";
import type { NodeRun } from "../runs/runView";
import { duration, secondsBetween, useNow } from "../ui/time";
import { useEditor } from "./editor";
import { type FlowNode, type Place, splitUsed } from "./graph";
import { inputsOf, kindOf, shownOutputs } from "./handles";
import { NodeIcon } from "./NodeIcon";
import classes from "./StepNode.module.css";
import { heightOf, placeOf } from "./shape";
import { useShifts } from "./shifts";
import { usePart } from "./store";

/** A node on the canvas. It draws itself again only when something about this very node has changed. */
export const StepNode = memo(function StepNode({ id, data: { node, used }, selected }: NodeProps<FlowNode>) {
  const editor = useEditor();
  const type = editor.types.get(node.type);
  const taken = splitUsed(used);
  const outputs = shownOutputs(type, node, taken);
  const run = usePart(editor.run, ({ nodes }) => nodes.get(id));
  const holders = usePart(editor.people, ({ selecting }) => selecting.get(id));
  const renaming = usePart(editor.renaming, (renamed) => renamed === id);
  const bare = usePart(editor.far, (far) => far) && !renaming;
  const frame = useRef<HTMLDivElement>(null);
  useShifts(editor.graph, [id], ([shift]) => follow(frame.current, shift));
  useHandlesMeasured(id, outputs.join(), bare);
  const problems = usePart(editor.problems, (all) => all.get(id));
  const holder = holders?.[0];
  const height = heightOf(outputs.length);
  if (bare) return <Unseen id={id} name={node.name || id} kind={kindOf(node, type)} height={height} />;
  const face = { id, node, type, taken, outputs, problems: run ? undefined : problems, run, renaming };
  return (
    <div
      ref={frame}
      id={`node-${id}`}
      className={classes.node}
      data-selected={selected || undefined}
      data-disabled={node.disabled || undefined}
      data-status={run?.status}
      data-entry={type?.entry_point || undefined}
      data-held={holder ? true : undefined}
      style={{ height, "--holder": holder?.color } as CSSProperties}
    >
      <Face {...face} />
      {holder && (
        <span className={classes.holder}>
          {holder.name}
          {holders.length > 1 && ` +${holders.length - 1}`}
        </span>
      )}
    </div>
  );
});

/** Where FarView draws a node: a place to point at, with the words for who listens. */
function Unseen({ id, name, kind, height }: { id: string; name: string; kind: string; height: number }) {
  return (
    <div id={`node-${id}`} className={classes.unseen} style={{ height }}>
      <span>{name}</span> <span>{kind}</span>
    </div>
  );
}

/** What there is to be seen of a node. */
interface Seen {
  readonly id: string;
  readonly node: WorkflowNode;
  readonly type: NodeType | undefined;
  /** The outputs that wires leave from, and all of them. */
  readonly taken: readonly string[];
  readonly outputs: readonly string[];
  readonly problems: readonly Problem[] | undefined;
  readonly run: NodeRun | undefined;
  readonly renaming: boolean;
}

function Face({ id, node, type, taken, outputs, problems, run, renaming }: Seen) {
  const editor = useEditor();
  const labelled = outputs.length > 1 || outputs[0] === "error";
  const letters = labelled ? Math.max(...outputs.map(({ length }) => length)) : 0;
  return (
    <>
      {inputsOf(type).map((input) => (
        <Handle key={input} id={input} type="target" position={Position.Left} className={classes.input} />
      ))}
      <NodeIcon icon={type?.icon ?? "cube"} category={type?.category ?? ""} />
      <div className={classes.words} style={{ "--labels": letters } as CSSProperties}>
        {renaming ? (
          <NameInput id={id} name={node.name || id} />
        ) : (
          <span className={classes.name} data-long={isLong(node.name || id, labelled ? 10 : 20)}>
            {node.name || id}
          </span>
        )}
        <span className={classes.type} data-long={isLong(kindOf(node, type), labelled ? 10 : 16)}>
          {kindOf(node, type)}
        </span>
      </div>
      {outputs.map((output, index) => (
        <Output
          key={output}
          id={output}
          place={placeOf(index, outputs.length)}
          label={labelled ? output : undefined}
          free={!taken.includes(output)}
          onAdd={() => editor.dialog.set({ kind: "palette", end: { node: id, handle: output, side: "source" } })}
        />
      ))}
      {problems && <ProblemMark problems={problems} />}
      {run && <RunMark run={run} />}
      {run?.text && <div className={classes.tokens}>{run.text}</div>}
    </>
  );
}

/** Whether a text may be longer than its place, where so many letters fit for sure. */
function isLong(text: string, fitting: number): true | undefined {
  return text.length > fitting || undefined;
}

function follow(element: HTMLElement | null, shift: Place | undefined): void {
  if (!element) return;
  element.style.translate = shift ? `${shift.x}px ${shift.y}px` : "";
  element.toggleAttribute("data-dragged", shift !== undefined);
}

/** Wires find their handles by measuring them: again when there are others. */
function useHandlesMeasured(id: string, handles: string, bare: boolean): void {
  const measure = useUpdateNodeInternals();
  const before = useRef(handles);
  useEffect(() => {
    if (bare || before.current === handles) return;
    before.current = handles;
    measure(id);
  }, [id, handles, bare, measure]);
}

interface OutputProps {
  id: string;
  /** From 0 at the top to 1. */
  place: number;
  label: string | undefined;
  free: boolean;
  onAdd: () => void;
}

function Output({ id, place, label, free, onAdd }: OutputProps) {
  const style = { "--place": `${place * 100}%` } as CSSProperties;
  return (
    <>
      {label && (
        <span
          className={classes.output}
          style={style}
          data-error={id === "error" || undefined}
          data-long={isLong(label, 12)}
        >
          {label}
        </span>
      )}
      <Handle
        id={id}
        type="source"
        position={Position.Right}
        className={classes.source}
        style={style}
        data-free={free || undefined}
        onClick={onAdd}
      >
        {free && <IconPlus size={11} stroke={2.6} />}
      </Handle>
    </>
  );
}

function ProblemMark({ problems }: { problems: readonly Problem[] }) {
  const told = problems.map(({ field, problem }) => `${field.replace(/^config\./, "")}: ${problem}`).join("\n");
  return (
    <Tooltip label={told} multiline w={280} style={{ whiteSpace: "pre-line" }}>
      <span className={classes.mark} data-kind="problem">
        <IconAlertTriangle size={13} stroke={2.2} aria-label={`Problems: ${told}`} role="img" />
      </span>
    </Tooltip>
  );
}

function RunMark({ run }: { run: NodeRun }) {
  const running = run.status === "running";
  const now = useNow(running, 100);
  if (run.status === "skipped" || run.status === "cancelled") return null;
  const took = run.startedAt ? duration(secondsBetween(run.startedAt, run.finishedAt, now)) : "";
  const mark = (
    <span className={classes.mark} data-kind={run.status}>
      {run.status === "completed" && <IconCheck size={13} stroke={2.6} />}
      {run.status === "failed" && <IconX size={13} stroke={2.6} />}
      <span className="numeric">
        {run.count > 1 ? `${run.count} × · ` : ""}
        {run.attempt > 1 ? `attempt ${run.attempt} · ` : ""}
        {took || run.status}
      </span>
    </span>
  );
  return run.error ? (
    <Tooltip label={run.error} multiline maw={320}>
      {mark}
    </Tooltip>
  ) : (
    mark
  );
}

function NameInput({ id, name }: { id: string; name: string }) {
  const editor = useEditor();
  return (
    <input
      // biome-ignore lint/a11y/noAutofocus: one has just asked to write here
      autoFocus
      className={`${classes.rename} nodrag`}
      aria-label="Name of the node"
      defaultValue={name}
      maxLength={200}
      onFocus={(event) => event.currentTarget.select()}
      onBlur={(event) => editor.rename(id, event.currentTarget.value)}
      onKeyDown={(event) => {
        event.stopPropagation();
        if (event.key === "Escape") event.currentTarget.value = name;
        if (event.key === "Enter" || event.key === "Escape") event.currentTarget.blur();
      }}
    />
  );
}
