// A queue as it is kept, and as it is taken up again.

import type { SentDefinition } from "./definition.ts";
import { fieldsToType, keyText } from "./fields.ts";
import { Queue } from "./queue.ts";
import { type DraftState, definitionOf } from "./state.ts";
import type { SavedQueue } from "./store.ts";
import { textAt } from "./text.ts";

/** What is confirmed, below the edits that wait. */
export type Base = { readonly seq: number; readonly state: DraftState };

/**
 * What is to be kept, with the whole draft below it when `whole` says so; null when nothing waits. `texts` are those that
 * were kept, as long as the draft has not been loaded.
 */
export function packed(queue: Queue, base: Base | null, whole: boolean, texts: SavedQueue["texts"]): SavedQueue | null {
  if (queue.size === 0) return null;
  const { entries, sent, nextId } = queue;
  return {
    nextId,
    sent,
    entries: entries.map(({ ops, label, alone }) => ({ ops, alone, ...(label === undefined ? {} : { label }) })),
    texts: base === null ? texts : textsBelow(queue, base.state),
    base: base !== null && whole ? { seq: base.seq, state: plain(base.state) } : null,
  };
}

export function unpacked({ entries, sent, nextId }: SavedQueue): Queue {
  const queue = new Queue();
  const fresh = { rewritten: false, tries: 0, inverse: null };
  queue.entries = entries.map(({ ops, label, alone }) => ({ ops: [...ops], label, alone, ...fresh }));
  queue.sent = sent;
  queue.nextId = nextId;
  return queue;
}

/** The confirmed texts that what waits types in. */
function textsBelow(queue: Queue, state: DraftState): [string, string][] {
  return fieldsToType(queue.operations).flatMap((key): [string, string][] => {
    const text = textAt(state, key.id, key.path);
    return text === null ? [] : [[keyText(key), text]];
  });
}

/** Copies of the lists, which databases of browsers can store. */
function plain(state: DraftState): SentDefinition {
  const { nodes, edges, settings, notes } = definitionOf(state);
  return { nodes: [...nodes], edges: [...edges], settings, notes };
}
