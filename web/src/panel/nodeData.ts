import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, body } from "../api/client";
import type { Run, Step } from "../api/schema";
import { useEditor, useShown } from "../canvas/editor";
import type { EdgeMap } from "../canvas/edits";
import { usePart } from "../canvas/store";
import type { Data } from "./completions";

const PAGE = 100;
const MOST_PAGES = 5;

export interface RecordedRun {
  readonly run: Run;
  readonly steps: readonly Step[];
}

/** The run that is watched, or else the newest one, with what its steps took and gave. Null when there was none. */
export function useRecordedRun() {
  const editor = useEditor();
  const watched = usePart(editor.runId, (id) => id);
  return useQuery({
    queryKey: ["last run", editor.workflowId, watched],
    queryFn: () => readRun(editor.workflowId, watched),
    staleTime: 10_000,
  });
}

async function readRun(workflowId: string, watched: string | null): Promise<RecordedRun | null> {
  const id = watched ?? (await newestRun(workflowId));
  if (!id) return null;
  const path = { id };
  const run = await body(api.GET("/api/workflow-runs/{id}", { params: { path } }));
  const steps: Step[] = [];
  let cursor: number | null = 0;
  for (let page = 0; page < MOST_PAGES && cursor !== null; page += 1) {
    const query: { limit: number; cursor: number } = { limit: PAGE, cursor };
    const read: { steps: Step[]; next_cursor: number | null } = await body(
      api.GET("/api/workflow-runs/{id}/steps", { params: { path, query } }),
    );
    steps.push(...read.steps);
    cursor = read.next_cursor;
  }
  return { run, steps };
}

async function newestRun(workflowId: string): Promise<string | undefined> {
  const query = { workflow_id: workflowId, limit: 1 };
  return (await body(api.GET("/api/workflow-runs", { params: { query } }))).runs[0]?.id;
}

/** The last step of a node, if it ran. */
export function stepOf(recorded: RecordedRun | null | undefined, nodeId: string): Step | undefined {
  return recorded?.steps.findLast(({ node_id }) => node_id === nodeId);
}

/** What the expressions of a node would see, by the recorded run and the wires as they are now. */
export function useNodeData(nodeId: string): Data {
  const recorded = useRecordedRun().data;
  const edges = useShown((shown) => shown.edges);
  const workflowId = useEditor().workflowId;
  return useMemo(() => nodeData(nodeId, recorded, edges, workflowId), [nodeId, recorded, edges, workflowId]);
}

export function nodeData(
  nodeId: string,
  recorded: RecordedRun | null | undefined,
  edges: EdgeMap,
  workflowId: string,
): Data {
  if (!recorded) return { workflow: { id: workflowId } };
  const outputs = new Map(recorded.steps.map((step) => [step.node_id, step.output]));
  const before = upstream(nodeId, edges);
  const into = [...edges.values()].filter(({ target, source }) => target === nodeId && outputs.has(source));
  const inputs = Object.fromEntries(into.map(({ source }) => [source, outputs.get(source)]));
  const given = Object.values(inputs);
  const { run } = recorded;
  return {
    input: stepOf(recorded, nodeId)?.input ?? (into.length === 0 ? run.input : given.length === 1 ? given[0] : given),
    inputs,
    steps: Object.fromEntries(
      [...before].filter((id) => outputs.has(id)).map((id) => [id, { output: outputs.get(id) }]),
    ),
    run: { id: run.id, workflow_id: workflowId, version_id: run.version_id, demo_url: "" },
    trigger: run.trigger ?? {},
    workflow: { id: workflowId },
  };
}

function upstream(nodeId: string, edges: EdgeMap): Set<string> {
  const sources = new Map<string, string[]>();
  for (const { source, target } of edges.values()) sources.set(target, [...(sources.get(target) ?? []), source]);
  const found = new Set<string>();
  const waiting = [...(sources.get(nodeId) ?? [])];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (found.has(id)) continue;
    found.add(id);
    waiting.push(...(sources.get(id) ?? []));
  }
  return found;
}
