// What an operation touches, to tell whether one edit builds on another.

import { edgeId } from "./definition.ts";
import type { Operation } from "./operations.ts";
import { overlap, type Path } from "./paths.ts";

/** `of` is a node's id, `edge:` with an edge's id, or one of the two below. */
type Touch = { readonly of: string; readonly path: Path };

const META = "#meta";
const EVERYTHING = "#everything";
/** Below a node, so that an edge to it touches what touches the whole node, and none of its fields. */
const ENDS = "#edges";

/** Whether two lists of operations touch the same place, other than by typing in one text, which always merges. */
export function touching(left: readonly Operation[], right: readonly Operation[]): boolean {
  return left.some((one) =>
    right.some((other) => !(one.op === "text.edit" && other.op === "text.edit") && meet(one, other)),
  );
}

function meet(left: Operation, right: Operation): boolean {
  const others = touchesOf(right);
  return touchesOf(left).some((one) =>
    others.some(
      (other) =>
        one.of === EVERYTHING || other.of === EVERYTHING || (one.of === other.of && overlap(one.path, other.path)),
    ),
  );
}

function touchesOf(op: Operation): Touch[] {
  switch (op.op) {
    case "node.add":
    case "node.remove":
      return [{ of: op.id, path: [] }];
    case "node.rename":
      return [{ of: op.id, path: [] }, { of: op.to, path: [] }, ...(op.sets ?? []).map(place)];
    case "node.set":
    case "node.unset":
    case "text.edit":
      return [place(op)];
    case "edge.add": {
      const id = edgeId(op.source, op.source_handle ?? "out", op.target, op.target_handle ?? "in");
      const ends = [op.source, op.target].map((of) => ({ of, path: [ENDS, id] }));
      return [{ of: `edge:${id}`, path: [] }, ...ends];
    }
    case "edge.remove":
      return [{ of: `edge:${op.id}`, path: [] }];
    case "meta.set":
      return [{ of: META, path: op.path }];
    case "draft.replace":
      return [{ of: EVERYTHING, path: [] }];
  }
}

function place(at: { readonly id: string; readonly path: Path }): Touch {
  return { of: at.id, path: at.path };
}
