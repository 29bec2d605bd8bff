// The definition of a workflow as JSON, every field written out: the mirror of melagent/domain/definition.py.

import { sha256 } from "@noble/hashes/sha2.js";
import type { Json, JsonObject } from "./json.ts";

export type NodePosition = { readonly x: number; readonly y: number };

export type NodeRetry = {
  readonly max_attempts: number;
  readonly initial_delay_ms: number;
  readonly backoff_multiplier: number;
  readonly max_delay_ms: number;
  readonly jitter: "full" | "none";
  readonly non_retryable: readonly string[];
};

export type WorkflowNode = {
  readonly id: string;
  readonly type: string;
  readonly name: string;
  readonly position: NodePosition;
  readonly config: JsonObject;
  readonly disabled: boolean;
  readonly timeout_seconds: number | null;
  readonly retry: NodeRetry;
  readonly on_error: "fail" | "continue" | "branch";
  readonly on_interrupted: "retry" | "fail" | "skip";
  readonly labels: readonly string[];
};

export type WorkflowEdge = {
  readonly id: string;
  readonly source: string;
  readonly source_handle: string;
  readonly target: string;
  readonly target_handle: string;
};

export type Definition = {
  readonly nodes: readonly WorkflowNode[];
  readonly edges: readonly WorkflowEdge[];
  readonly settings: JsonObject;
  readonly notes: readonly JsonObject[];
};

type Sent<T> = { readonly [K in keyof T]?: T[K] extends JsonObject ? { readonly [L in keyof T[K]]?: T[K][L] } : T[K] };

/** A node as a file or a caller writes it: what is left out has its default. */
export type SentNode = { readonly id: string; readonly type: string } & Sent<Omit<WorkflowNode, "id" | "type">>;

/** An edge as a caller writes it; its id is derived. */
export type SentEdge = {
  readonly source: string;
  readonly target: string;
  readonly source_handle?: string;
  readonly target_handle?: string;
};

export type SentDefinition = {
  readonly nodes?: readonly SentNode[];
  readonly edges?: readonly SentEdge[];
  readonly settings?: JsonObject;
  readonly notes?: readonly JsonObject[];
};

export const NODE_DEFAULTS: Omit<WorkflowNode, "id" | "type"> = {
  name: "",
  position: { x: 0, y: 0 },
  config: {},
  disabled: false,
  timeout_seconds: null,
  retry: {
    max_attempts: 3,
    initial_delay_ms: 1000,
    backoff_multiplier: 2,
    max_delay_ms: 300_000,
    jitter: "full",
    non_retryable: [],
  },
  on_error: "fail",
  on_interrupted: "retry",
  labels: [],
};

export const SETTINGS_DEFAULTS: JsonObject = {
  timeout_seconds: null,
  max_concurrency: null,
  priority: 5,
  labels: [],
  error_workflow_id: null,
};

const LONGEST_PROPOSAL = 80;

/** The node with all its fields. An operation that adds one may be given as it is. */
export function completeNode(sent: SentNode & { readonly op?: string }): WorkflowNode {
  const { op: _, ...node } = sent;
  return {
    ...NODE_DEFAULTS,
    ...node,
    position: { ...NODE_DEFAULTS.position, ...node.position },
    retry: { ...NODE_DEFAULTS.retry, ...node.retry },
  } as WorkflowNode;
}

export function completeEdge(edge: SentEdge): WorkflowEdge {
  const { source, source_handle = "out", target, target_handle = "in" } = edge;
  return { id: edgeId(source, source_handle, target, target_handle), source, source_handle, target, target_handle };
}

const ids = new Map<string, string>();
const MOST_IDS = 50_000;

/** The id of an edge, derived from its four fields. Remembered, because hashing 20,000 of them takes a while. */
export function edgeId(source: string, sourceHandle: string, target: string, targetHandle: string): string {
  const text = `${source},${sourceHandle},${target},${targetHandle}`;
  let id = ids.get(text);
  if (id === undefined) {
    const digest = sha256(new TextEncoder().encode(text)).subarray(0, 8);
    id = `e_${Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    if (ids.size >= MOST_IDS) ids.clear();
    ids.set(text, id);
  }
  return id;
}

/** A short id that no node has: `http_request`, then `http_request_2` and so on; the server proposes the same. */
export function freshId(taken: Definition | { has(id: string): boolean }, type: string): string {
  const has = "has" in taken ? taken : new Set(taken.nodes.map((node) => node.id));
  const base = withoutMargins(type.replace(/[^A-Za-z0-9_]+/g, "_").slice(0, LONGEST_PROPOSAL)) || "node";
  let proposed = base;
  for (let number = 2; has.has(proposed); number += 1) proposed = `${base}_${number}`;
  return proposed;
}

function withoutMargins(text: string): string {
  return text.replace(/^_+|_+$/g, "");
}

/** The value a field of a node has when nobody says anything. */
export function defaultOf(field: string): Json {
  return (NODE_DEFAULTS as unknown as JsonObject)[field] ?? null;
}
