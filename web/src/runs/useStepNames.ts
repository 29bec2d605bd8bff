import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, body } from "../api/client";
import { useNodeTypes } from "../app/nodeTypes";
import type { StepNews } from "./liveRun";

/** What people call a step: its node in the definition that the run follows, with the numbers of its items; and the type. */
export interface StepNames {
  of(step: Pick<StepNews, "step_key" | "node_id">): string;
  ofType(step: Pick<StepNews, "node_type">): string;
}

export function useStepNames(runId: string): StepNames {
  const types = useNodeTypes().data;
  const { data } = useQuery({
    queryKey: ["run definition", runId],
    queryFn: () => body(api.GET("/api/workflow-runs/{id}/definition", { params: { path: { id: runId } } })),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return useMemo(() => {
    const nodes = new Map(data?.definition.nodes?.map(({ id, name }) => [id, name]));
    const typeNames = new Map(types?.map(({ id, name }) => [id, name]));
    return {
      of: ({ step_key, node_id }) => (nodes.get(node_id) || node_id) + step_key.slice(node_id.length),
      ofType: ({ node_type }) => typeNames.get(node_type) ?? node_type,
    };
  }, [data, types]);
}
