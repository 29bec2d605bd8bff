/** Nodes as text: the JSON of a definition, so that what is copied can be pasted into a file, and the other way round. */
import { freshId, type Operation, type SentNode, type WorkflowNode } from "../collab";
import { type EdgeMap, GRID, type NodeMap } from "./edits";
import type { Place } from "./graph";

export const MOST_PASTED = 1_000;

interface Pasted {
  nodes: SentNode[];
  edges: { source: string; target: string; source_handle?: string; target_handle?: string }[];
}

export function copied(nodes: NodeMap, edges: EdgeMap, ids: readonly string[]): string {
  const taken = new Set(ids);
  const inner = [...edges.values()].filter(({ source, target }) => taken.has(source) && taken.has(target));
  const parts = {
    nodes: ids.flatMap((id) => nodes.get(id) ?? []),
    edges: inner.map(({ id: _, ...edge }) => edge),
  };
  return JSON.stringify(parts, null, 2);
}

/** What a text holds that can be pasted; null when it is something else. */
export function readPasted(text: string): Pasted | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const parts = isObject(value) && isObject(value.definition) ? value.definition : value;
  if (!isObject(parts) || !Array.isArray(parts.nodes) || parts.nodes.length === 0) return null;
  if (parts.nodes.length > MOST_PASTED || !parts.nodes.every(isNode)) return null;
  return { nodes: parts.nodes, edges: Array.isArray(parts.edges) ? parts.edges.filter(isEdge) : [] };
}

/** The nodes anew, with ids that are free, the middle of them at `at`; without it, beside where they were. */
export function pasting(nodes: NodeMap, pasted: Pasted, at?: Place): { ids: string[]; ops: Operation[] } {
  const names = new Map<string, string>();
  const taken = new Set(nodes.keys());
  for (const { id, type } of pasted.nodes) {
    const fresh = taken.has(id) ? freshId(taken, type) : id;
    taken.add(fresh);
    names.set(id, fresh);
  }
  const shift = shiftTo(pasted.nodes, at);
  const added = pasted.nodes.map((node): Operation => {
    const { x = 0, y = 0 } = node.position ?? {};
    const position = { x: Math.round(x + shift.x), y: Math.round(y + shift.y) };
    const config = following(node.config ?? {}, names) as WorkflowNode["config"];
    return { op: "node.add", ...node, id: names.get(node.id) ?? node.id, position, config };
  });
  const wires = pasted.edges.flatMap((edge): Operation[] => {
    const [source, target] = [names.get(edge.source), names.get(edge.target)];
    return source && target ? [{ op: "edge.add", ...edge, source, target }] : [];
  });
  return { ids: [...names.values()], ops: [...added, ...wires] };
}

function shiftTo(nodes: readonly SentNode[], at: Place | undefined): Place {
  if (!at) return { x: GRID * 2, y: GRID * 2 };
  const xs = nodes.map(({ position }) => position?.x ?? 0);
  const ys = nodes.map(({ position }) => position?.y ?? 0);
  return { x: at.x - (Math.min(...xs) + Math.max(...xs)) / 2, y: at.y - (Math.min(...ys) + Math.max(...ys)) / 2 };
}

const REFERENCE = /\b(steps|inputs)\.([A-Za-z_][A-Za-z0-9_]*)/g;

/** What names a node that got another id names it by that. */
function following(value: unknown, names: ReadonlyMap<string, string>): unknown {
  if (typeof value === "string") {
    return value.replace(REFERENCE, (whole, where: string, id: string) => {
      const now = names.get(id);
      return now === undefined || now === id ? whole : `${where}.${now}`;
    });
  }
  if (Array.isArray(value)) return value.map((each) => following(each, names));
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, following(each, names)]));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isNode(value: unknown): value is SentNode {
  return isObject(value) && typeof value.id === "string" && typeof value.type === "string";
}

function isEdge(value: unknown): value is Pasted["edges"][number] {
  return isObject(value) && typeof value.source === "string" && typeof value.target === "string";
}
