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

interface Wire {
  readonly source: string;
  readonly target: string;
  readonly source_handle: string;
}

/**
 * A run by node. What has not changed stays the same object. Steps are told when they end (those that take long and have
 * effects also when they begin), so what runs now follows from the wires.
 */
export function runView(
  { run, steps, texts }: Pick<LiveRun, "run" | "steps" | "texts">,
  wires: Iterable<Wire> = [],
  before: RunView = NO_RUN,
): RunView {
  const found = new Map<string, NodeRun>();
  for (const step of steps.values()) {
    const text = step.status === "running" ? (texts.get(step.step_key) ?? "").slice(-TEXT_SHOWN) : "";
    found.set(step.node_id, together(found.get(step.node_id), step, text));
  }
  if (run?.status === "running") {
    for (const [id, startedAt] of begun([...wires], found))
      found.set(id, { ...BEGUN, startedAt, text: textOf(id, texts) });
  }
  const nodes = reusing(before.nodes, found, (left, right) => JSON.stringify(left) === JSON.stringify(right));
  return nodes === before.nodes ? before : { nodes };
}

const BEGUN: NodeRun = {
  status: "running",
  count: 1,
  failed: 0,
  startedAt: null,
  finishedAt: null,
  handles: [],
  error: null,
  attempt: 1,
  text: "",
};

/** The nodes that a taken wire leads to and that have not ended, when nothing before them can still run; and since when. */
function begun(wires: readonly Wire[], ended: ReadonlyMap<string, NodeRun>): Map<string, string | null> {
  const sources = new Map<string, string[]>();
  const reached = new Map<string, string | null>();
  for (const { source, target, source_handle } of wires) {
    sources.set(target, [...(sources.get(target) ?? []), source]);
    const from = ended.get(source);
    if (ended.has(target) || !from || !took(from, source_handle)) continue;
    const [known, at] = [reached.get(target), from.finishedAt];
    reached.set(target, known && at && known > at ? known : at);
  }
  return new Map([...reached].filter(([id]) => !waits(id, sources, reached)));
}

function took({ status, handles }: NodeRun, handle: string): boolean {
  if (status !== "completed" && status !== "failed") return false;
  return handles.length > 0 ? handles.includes(handle) : status === "completed";
}

/** Whether another node that has begun lies before this one. */
function waits(id: string, sources: ReadonlyMap<string, string[]>, reached: ReadonlyMap<string, unknown>): boolean {
  const before = new Set(sources.get(id));
  for (const each of before) {
    if (each !== id && reached.has(each)) return true;
    for (const source of sources.get(each) ?? []) before.add(source);
  }
  return false;
}

function textOf(nodeId: string, texts: LiveRun["texts"]): string {
  return (texts.get(nodeId) ?? "").slice(-TEXT_SHOWN);
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
