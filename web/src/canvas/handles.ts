import type { NodeType } from "../api/schema";
import type { WorkflowNode } from "../collab";

export const ERROR_HANDLE = "error";

/**
 * The outputs of a node as it is now. Types that choose their outputs by their parameters are mirrored here (`handles` of
 * melagent/nodes/if_.py, switch.py and wait.py); the server checks edges again.
 */
export function outputsOf(type: NodeType | undefined, node: WorkflowNode): readonly string[] {
  const own = type ? ownOutputs(type, node.config) : ["out"];
  return node.on_error === "branch" ? [...own, ERROR_HANDLE] : own;
}

/** The outputs that a node shows: its own, and others that wires leave from all the same. */
export function shownOutputs(type: NodeType | undefined, node: WorkflowNode, used: readonly string[]): string[] {
  return [...new Set([...outputsOf(type, node), ...used])];
}

export function inputsOf(type: NodeType | undefined): readonly string[] {
  return type?.inputs ?? ["in"];
}

/** What stands below a node's name. */
export function kindOf(node: WorkflowNode, type: NodeType | undefined): string {
  return node.disabled ? "Disabled" : (type?.name ?? `Unknown: ${node.type}`);
}

function ownOutputs(type: NodeType, config: Record<string, unknown>): readonly string[] {
  switch (type.id) {
    case "if":
      return ifOutputs(entriesOf(config.conditions), type.outputs);
    case "switch": {
      const cases = entriesOf(config.cases).map(({ handle }) => handle);
      return unique([...cases, config.default ?? "default"].filter((name) => typeof name === "string" && name !== ""));
    }
    case "wait":
      return config.onTimeout === "branch" ? type.outputs : ["out"];
    default:
      return type.outputs;
  }
}

function ifOutputs(conditions: Record<string, unknown>[], plain: readonly string[]): readonly string[] {
  if (conditions.length === 0 || (conditions.length === 1 && !conditions[0]?.branch)) return plain;
  return unique([...conditions.map(({ branch }, index) => branch || `branch_${index + 1}`), "else"]);
}

function entriesOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === "object" && entry !== null) : [];
}

function unique(names: unknown[]): string[] {
  return [...new Set(names.map(String))];
}
