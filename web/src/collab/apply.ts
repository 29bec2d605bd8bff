// Operations at work: verbatim for what the server has committed, checked for one's own.

import { checked, Refused } from "./check.ts";
import { completeEdge, completeNode, defaultOf, type WorkflowNode } from "./definition.ts";
import { edgesAt, followed } from "./edges.ts";
import { inverseOf } from "./inverse.ts";
import { equal, type Json, type JsonObject } from "./json.ts";
import type { NodeRename, Operation } from "./operations.ts";
import { getAt, type Path, setAt, unsetAt } from "./paths.ts";
import { type DraftState, load, Working } from "./state.ts";
import { changed, readChanges } from "./text.ts";

/** A committed edit does not fit: this copy is not what it should be, and must be loaded anew. */
export class Diverged extends Error {}

/** Apply the operations of a committed edit as they are; answers those that undo them. Raises Diverged. */
export function replay(work: Working, ops: readonly Operation[]): Operation[][] {
  try {
    return ops.map((op) => {
      const inverse = inverseOf(work, op);
      perform(work, op);
      return inverse;
    });
  } catch (error) {
    throw new Diverged(String(error), { cause: error });
  }
}

/**
 * Apply one's own edit before the server has said anything to it, all or nothing; answers the operations that undo
 * it, in the order in which they must be applied. Raises Refused.
 */
export function apply(work: Working, ops: readonly Operation[]): Operation[] {
  if (ops.length === 1) return attempt(work, ops[0] as Operation);
  const before = work.state();
  try {
    return ops
      .map((op) => attempt(work, op, ops))
      .reverse()
      .flat();
  } catch (error) {
    work.goBackTo(before);
    throw error;
  }
}

/** Those of the operations that can be applied, one after the other, to a state. */
export function applicable(state: DraftState, ops: readonly Operation[]): Operation[] {
  const work = new Working(state);
  return ops.filter((op) => {
    try {
      attempt(work, op);
      return true;
    } catch (error) {
      if (error instanceof Refused) return false;
      throw error;
    }
  });
}

function attempt(work: Working, op: Operation, edit: readonly Operation[] = [op]): Operation[] {
  const complete = checked(work, op);
  const inverse = inverseOf(work, complete, edit);
  perform(work, complete);
  return inverse;
}

function perform(work: Working, op: Operation): void {
  switch (op.op) {
    case "node.add":
      work.putNode(completeNode(op));
      return;
    case "node.remove":
      removeNode(work, op.id);
      return;
    case "node.rename":
      renameNode(work, op);
      return;
    case "node.set":
      changeNode(work, op.id, (node) => setAt(node, op.path, op.value));
      return;
    case "node.unset":
      changeNode(work, op.id, (node) => unset(node, op.path));
      return;
    case "text.edit":
      changeNode(work, op.id, (node) => {
        const text = (getAt(node, op.path) ?? "") as string;
        return setAt(node, op.path, changed(text, readChanges(op.changes)));
      });
      return;
    case "edge.add":
      work.putEdge(completeEdge(op));
      return;
    case "edge.remove":
      work.dropEdge(op.id);
      return;
    case "meta.set": {
      const meta = setAt({ settings: work.settings, notes: work.notes }, op.path, op.value) as JsonObject;
      work.settings = meta.settings as JsonObject;
      work.notes = meta.notes as readonly JsonObject[];
      return;
    }
    case "draft.replace":
      work.goBackTo(load(op.definition));
  }
}

function removeNode(work: Working, id: string): void {
  work.dropNode(id);
  for (const edge of edgesAt(work, id)) work.dropEdge(edge.id);
}

function renameNode(work: Working, op: NodeRename): void {
  const node = work.nodes.get(op.id);
  if (node === undefined) throw new Error(`There is no node ${op.id} to rename.`);
  const renamed = { ...node, id: op.to };
  work.replaceNodes(Array.from(work.nodes.values(), (other) => (other === node ? renamed : other)));
  if (edgesAt(work, op.id).length > 0) {
    work.replaceEdges(Array.from(work.edges.values(), (edge) => followed(edge, op.id, op.to)));
  }
  for (const set of op.sets ?? []) changeNode(work, set.id, (other) => setAt(other, set.path, set.value));
}

function changeNode(work: Working, id: string, change: (node: Json) => Json): void {
  const node = work.nodes.get(id);
  if (node === undefined) throw new Error(`There is no node ${id}.`);
  const next = change(node) as unknown as WorkflowNode;
  if (!equal(next, node)) work.putNode(next);
}

function unset(node: Json, path: Path): Json {
  const [field, ...rest] = path;
  return rest.length > 0 ? unsetAt(node, path) : setAt(node, path, defaultOf(field as string));
}
