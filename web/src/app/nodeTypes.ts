import { useQuery } from "@tanstack/react-query";
import { api, body } from "../api/client";

/** All types of nodes that there are here. */
export function useNodeTypes() {
  return useQuery({
    queryKey: ["node types"],
    queryFn: () => body(api.GET("/api/node-types")),
    staleTime: 300_000,
  });
}
