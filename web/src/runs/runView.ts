import { reusing } from "../canvas/store";
import type { LiveRun, StepNews } from "./liveRun";

/** How a run went at one node, all of its steps there taken together. */
export interface NodeRun {
  readonly status: StepNews["status"];
  /** How many steps there were: several in a loop. */
  readonly count: number;
  readonly failed: number;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  /** The outputs that were taken. */
  readonly handles: readonly string[];
  readonly error: string | null;
  readonly attempt: number;
  /** The end of the text that the node is making right now. */
  readonly text: string;
}

export interface RunView {
  readonly nodes: ReadonlyMap<string, NodeRun>;
}

export const NO_RUN: RunView = { nodes: new Map() };

const TEXT_SHOWN = 160;

/** A run by node. What has not changed stays the same object. */
export function runView({ steps, texts }: Pick<LiveRun, "steps" | "texts">, before: RunView = NO_RUN): RunView {
  const found = new Map<string, NodeRun>();
  for (const step of steps.values()) {
    const text = step.status === "running" ? (texts.get(step.step_key) ?? "").slice(-TEXT_SHOWN) : "";
    found.set(step.node_id, together(found.get(step.node_id), step, text));
  }
  const nodes = reusing(before.nodes, found, (left, right) => JSON.stringify(left) === JSON.stringify(right));
  return nodes === before.nodes ? before : { nodes };
}

function together(before: NodeRun | undefined, step: StepNews, text: string): NodeRun {
  const message = step.error ? String(step.error.message ?? step.error.code ?? "It failed.") : null;
  const handles = step.handle && !before?.handles.includes(step.handle) ? [step.handle] : [];
  return {
    status: step.status,
    count: (before?.count ?? 0) + 1,
    failed: (before?.failed ?? 0) + (step.status === "failed" ? 1 : 0),
    startedAt: before?.startedAt ?? step.started_at,
    finishedAt: step.finished_at,
    handles: [...(before?.handles ?? []), ...handles],
    error: message ?? before?.error ?? null,
    attempt: step.attempt,
    text: text || (before?.text ?? ""),
  };
}

/** Whether the run went over an edge, goes over it now, or did not. */
export function edgeRun(
  { nodes }: RunView,
  edge: { source: string; target: string; sourceHandle?: string | null },
): "live" | "done" | null {
  const source = nodes.get(edge.source);
  const target = nodes.get(edge.target);
  if (!source || source.status === "skipped" || !target || target.status === "skipped") return null;
  if (source.handles.length > 0 && edge.sourceHandle && !source.handles.includes(edge.sourceHandle)) return null;
  return target.status === "completed" || target.status === "failed" ? "done" : "live";
}
