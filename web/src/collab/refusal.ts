// What to do about an edit that the server refuses.

import type { Refused } from "./check.ts";
import type { Gone, RefusedFrame } from "./frames.ts";
import type { Operation } from "./operations.ts";
import type { Pending } from "./queue.ts";

/** An edit that will not be: it is not shown any more, and can only be made again. */
export type Refusal = {
  readonly error: string;
  readonly message: string;
  readonly details: readonly { readonly field: string; readonly problem: string }[];
  readonly gone: Gone | undefined;
  readonly ops: readonly Operation[];
  readonly label: string | undefined;
  /** The library refused it without asking the server. */
  readonly local: boolean;
};

export type Remedy = "send anew" | "send alone" | "send later" | "give up";

const MOST_TRIES = 5;
const PASSING = new Set(["unavailable", "rate_limited", "timeout"]);

/** How edits that were refused together are to be treated; those that are tried again are counted. */
export function remedyFor(entries: readonly Pending[], frame: RefusedFrame): Remedy {
  if (PASSING.has(frame.error)) return "send later";
  if (entries.some((entry) => entry.rewritten || entry.ops.length === 0)) return "send anew";
  if (entries.length > 1) return "send alone";
  const [entry] = entries;
  if (entry === undefined || entry.tries >= MOST_TRIES) return "give up";
  entry.tries += 1;
  if (frame.error === "internal") return "send later";
  // The server may take a field for touched that was not, right after it has loaded the draft.
  const typed = entry.ops.some((op) => op.op === "text.edit");
  return frame.error === "conflict" && typed ? "send anew" : "give up";
}

export function refusalOf(frame: RefusedFrame, entry: Pending): Refusal {
  const { error, message, details = [], gone } = frame;
  return { error, message, details, gone, ops: entry.ops, label: entry.label, local: false };
}

export function localRefusal(refused: Refused, ops: readonly Operation[], label: string | undefined): Refusal {
  const { error, message, details } = refused;
  return { error, message, details, gone: undefined, ops, label, local: true };
}
