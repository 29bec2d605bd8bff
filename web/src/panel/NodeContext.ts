import { createContext, useContext } from "react";
import type { Data } from "./completions";

/** The node whose fields are shown, and what its expressions see. */
export interface ShownNode {
  readonly id: string;
  readonly data: Data;
  readonly mayEdit: boolean;
}

const NodeContext = createContext<ShownNode | null>(null);

export const NodeProvider = NodeContext.Provider;

export function useShownNode(): ShownNode {
  const node = useContext(NodeContext);
  if (!node) throw new Error("This stands outside of a node's panel.");
  return node;
}
