import type { Problem } from "../api/errors";
import { reusing } from "./store";

export type ProblemsByNode = ReadonlyMap<string, readonly Problem[]>;

const OF_NODE = /^nodes\.([A-Za-z0-9_-]+)(?:\.(.*))?$/;

/** The problems of each node, by their field within the node; and under "" those of no node. */
export function problemsByNode(problems: readonly unknown[], before: ProblemsByNode = new Map()): ProblemsByNode {
  const found = new Map<string, Problem[]>();
  for (const each of problems) {
    if (!isProblem(each)) continue;
    const [, id = "", field = ""] = OF_NODE.exec(each.field) ?? [];
    const told = id ? { field, problem: each.problem } : each;
    found.set(id, [...(found.get(id) ?? []), told]);
  }
  return reusing<readonly Problem[]>(before, found, (left, right) => JSON.stringify(left) === JSON.stringify(right));
}

function isProblem(value: unknown): value is Problem {
  const { field, problem } = (value ?? {}) as Record<string, unknown>;
  return typeof field === "string" && typeof problem === "string";
}
