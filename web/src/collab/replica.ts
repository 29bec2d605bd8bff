// One copy of a draft: what the server has confirmed, with one's own waiting edits applied on top. It never waits and
// knows no socket: frames go in, frames come out.

import type { ChangeSet } from "@codemirror/state";
import { applicable, apply, Diverged, replay } from "./apply.ts";
import { Refused, refuseTooLarge } from "./check.ts";
import type { SentDefinition } from "./definition.ts";
import type { Emitter } from "./emitter.ts";
import type { DraftEvents } from "./events.ts";
import type { TextField, TextHost } from "./field.ts";
import { fieldsToType, keyText } from "./fields.ts";
import type { EditFrame, JoinedFrame, RefusedFrame, SentEditFrame } from "./frames.ts";
import { Graves } from "./graves.ts";
import { History, type Other, otherOf, type Stack } from "./history.ts";
import type { Operation } from "./operations.ts";
import type { Path } from "./paths.ts";
import { type Pending, Queue } from "./queue.ts";
import { Findings, follow, loseWhenReplaced, withdraw } from "./rebase.ts";
import { localRefusal, refusalOf, remedyFor } from "./refusal.ts";
import { packed, unpacked } from "./saved_queue.ts";
import { type DraftState, load, sharing, Working } from "./state.ts";
import type { SavedQueue } from "./store.ts";
import { avoidTakenIds } from "./taken_ids.ts";
import { textAt, writeChanges } from "./text.ts";
import { changesOf, TextFields, typedBy, typedByOthers } from "./text_fields.ts";

/** Edits are missing between what is confirmed and the edit that came: the draft must be joined again. */
export class Gap extends Error {}

export type Undone =
  | { readonly done: true; readonly label: string | undefined }
  | { readonly done: false; readonly asked?: readonly Other[] };

type HowEdited = { readonly label?: string | undefined; readonly as?: "edit" | Stack; readonly origin?: unknown };

export class Replica implements TextHost {
  readonly events: Emitter<DraftEvents>;
  readonly history = new History();
  queue = new Queue();
  /** The text that names this copy's edits to the server, together with their ids. */
  client = "";
  seq = 0;
  /** Why nothing can be edited any more. */
  closed: string | null = null;
  #confirmed: DraftState | null = null;
  #view: DraftState | null = null;
  readonly #graves = new Graves();
  readonly #fields = new TextFields(this);
  /** A refusal that was decided on a state which has not arrived yet. */
  #held: RefusedFrame | null = null;
  /** Texts as they were when waiting edits were saved, until the draft is joined. */
  #savedTexts = new Map<string, string>();
  readonly #edited: () => void;

  constructor(events: Emitter<DraftEvents>, edited: () => void) {
    this.events = events;
    this.#edited = edited;
  }

  /** What is to be seen: null until the draft has been loaded. */
  get view(): DraftState | null {
    return this.#view;
  }

  get confirmed(): DraftState | null {
    return this.#confirmed;
  }

  // --- one's own edits

  /** Show an edit and queue it. False when it was refused at once, which the event `refused` explains. */
  edit(ops: readonly Operation[], { label, as = "edit", origin = null }: HowEdited = {}): boolean {
    const before = this.#loaded();
    if (ops.length === 0) return true;
    const work = new Working(before);
    let inverse: Operation[];
    try {
      if (this.closed !== null) throw new Refused("closed", this.closed);
      refuseTooLarge(ops);
      inverse = apply(work, ops);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.events.emit("refused", localRefusal(error, ops, label));
      return false;
    }
    const { entry, merged } = this.queue.add(ops, label, inverse);
    const step = { inverse, label, at: Date.now(), pending: merged ? null : entry };
    if (as === "edit") this.history.record(step, ops);
    else this.history.push(as, { ...step, shape: null, edits: 1, others: [] });
    this.#view = work.state();
    for (const op of ops) if (op.op === "node.rename") this.#fields.follow(op.id, op.to);
    this.#fields.tell(typedBy(ops), origin);
    this.#edited();
    return true;
  }

  /** Undo or redo one's own last edit; asks first when others have built on it. */
  step(from: Stack, force: boolean): Undone {
    if (this.closed !== null) return { done: false };
    const onto = from === "undo" ? "redo" : "undo";
    for (let step = this.history[from].at(-1); step !== undefined; step = this.history[from].at(-1)) {
      if (step.others.length > 0 && !force) return { done: false, asked: step.others };
      this.history[from].pop();
      const ops = applicable(this.#loaded(), step.inverse);
      if (ops.length > 0 && this.edit(ops, { label: step.label, as: onto })) return { done: true, label: step.label };
    }
    return { done: false };
  }

  /** Bring back a node that was removed, with its edges; false when this copy has not seen it removed. */
  restore(id: string): boolean {
    if (this.#loaded().nodes.has(id)) return true;
    const ops = this.#graves.restoring(id);
    return ops !== null && this.edit(applicable(this.#loaded(), ops), { label: "restore" });
  }

  // --- texts

  text(id: string, path: Path): TextField {
    return this.#fields.field(id, path);
  }

  get watched(): Set<TextField> {
    return this.#fields.watched;
  }

  textAt(id: string, path: Path): string | null {
    return this.#view === null ? null : textAt(this.#view, id, path);
  }

  type(field: TextField, changes: ChangeSet, origin: unknown): boolean {
    if (changes.empty) return true;
    const { id, path } = field;
    return this.edit([{ op: "text.edit", id, path, changes: writeChanges(changes) }], { origin });
  }

  // --- what the server says

  /** The draft was joined: take over what it is now, and what has become of the edits that were under way. */
  joined(frame: JoinedFrame): void {
    this.#held = null;
    if (frame.edits !== undefined) this.committed(frame.edits);
    else this.#replace(frame.definition ?? {}, frame.seq, frame.last_id);
    if (this.queue.sent !== null && this.queue.sent.id <= frame.last_id) {
      this.#confirmEntries(null, null);
      this.#rebuild(new Findings(), null);
    }
    this.queue.nextId = Math.max(this.queue.nextId, frame.last_id + 1);
    this.#savedTexts.clear();
  }

  /** Committed edits in their order; those that are known are passed over. Raises Gap, and Diverged. */
  committed(frames: readonly EditFrame[]): void {
    const work = new Working(this.#confirmed ?? load({}));
    const findings = new Findings();
    let by: Other | null = null;
    let seq = this.seq;
    let gap = false;
    for (const frame of frames) {
      const own = frame.client === this.client && frame.id === this.queue.sent?.id;
      gap = frame.seq > seq + 1;
      if (gap) break;
      if (frame.seq <= seq) {
        if (own) this.#confirmEntries(frame.seq, null);
        continue;
      }
      if (own) this.#confirm(work, frame);
      else by = this.#follow(work, frame, findings);
      seq = frame.seq;
    }
    this.#confirmed = work.state();
    this.seq = seq;
    this.#rebuild(findings, by);
    if (gap) throw new Gap();
    if (this.#held !== null) this.refused(this.#held);
  }

  /** The edits under way were refused. Answers after how many milliseconds to send again, null for whenever. */
  refused(frame: RefusedFrame): number | null {
    this.#held = null;
    if (frame.id !== this.queue.sent?.id) return null;
    if (frame.seq !== undefined && frame.seq > this.seq) {
      this.#held = frame;
      return null;
    }
    const findings = new Findings();
    const entries = this.queue.underWay();
    if (frame.error === "conflict" && this.#confirmed !== null) {
      findings.renamings.push(...avoidTakenIds(new Working(this.#confirmed), this.queue.entries, this.#loaded()));
    }
    switch (remedyFor(entries, frame)) {
      case "send later":
        return 1_000;
      case "send alone":
        for (const entry of entries) entry.alone = true;
        this.queue.takeBack();
        break;
      case "send anew":
        this.queue.takeBack();
        break;
      case "give up":
        this.#giveUp(frame, findings);
        return null;
    }
    this.#rebuild(findings, null);
    return null;
  }

  next(): SentEditFrame | null {
    return this.queue.next(this.seq);
  }

  /** The frame under way once more. Null when nothing of it is left, which means that it need not be answered. */
  again(): SentEditFrame | null {
    const frame = this.queue.again(this.seq);
    if (frame === null || frame.ops.length > 0) return frame;
    this.queue.takeBack();
    this.queue.sweep();
    return null;
  }

  // --- what is kept

  /** What is to be kept of the edits that wait; with `whole` the draft can be opened from it without the server. */
  saved(whole: boolean): SavedQueue | null {
    const base = this.#confirmed === null ? null : { seq: this.seq, state: this.#confirmed };
    return packed(this.queue, base, whole, [...this.#savedTexts]);
  }

  /** Take over edits that were kept. Those under way are sent again under their id. */
  adopt(client: string, saved: SavedQueue | null): void {
    this.client = client;
    this.queue = saved === null ? new Queue() : unpacked(saved);
    this.#savedTexts = new Map(saved?.texts);
    this.history.clear();
    if (this.#confirmed === null && saved?.base) {
      this.#confirmed = load(saved.base.state);
      this.seq = saved.base.seq;
    }
    if (this.#confirmed !== null) this.#rebuild(new Findings(), null);
  }

  // --- inside

  #loaded(): DraftState {
    if (this.#view === null) throw new Error("The draft has not been loaded yet.");
    return this.#view;
  }

  #confirm(work: Working, frame: EditFrame): void {
    const inverses: Operation[][] = [];
    for (const op of frame.ops) {
      this.#graves.note(work, op);
      inverses.push(...replay(work, [op]));
    }
    this.#confirmEntries(frame.seq, inverses);
  }

  #confirmEntries(seq: number | null, inverses: Operation[][] | null): void {
    const id = this.queue.sent?.id;
    const entries = this.queue.settle();
    const known = inverses?.length === entries.reduce((count, entry) => count + entry.ops.length, 0) ? inverses : null;
    let begin = 0;
    for (const entry of entries) {
      const own = known
        ?.slice(begin, begin + entry.ops.length)
        .reverse()
        .flat();
      begin += entry.ops.length;
      this.history.confirmed(entry, own ?? null);
    }
    if (id !== undefined) this.events.emit("acknowledged", { client: this.client, id, seq });
  }

  #follow(work: Working, frame: EditFrame, findings: Findings): Other {
    const view = this.#view ?? work.state();
    for (const op of frame.ops) {
      this.#graves.note(work, op);
      try {
        follow(work, this.queue.entries, op, { view, graves: this.#graves }, findings);
      } catch (error) {
        throw error instanceof Diverged ? error : new Diverged(String(error), { cause: error });
      }
    }
    this.history.othersDid(frame.ops, frame);
    return otherOf(frame);
  }

  /** The whole draft came instead of the edits that are missing here. */
  #replace(definition: SentDefinition, seq: number, lastId: number): void {
    const previous = this.#confirmed;
    if (this.queue.sent !== null && this.queue.sent.id <= lastId) this.#confirmEntries(null, null);
    const findings = new Findings();
    this.#confirmed = load(definition);
    this.seq = seq;
    const view = this.#view ?? this.#confirmed;
    const waiting = this.queue.entries;
    for (const key of fieldsToType(this.queue.operations)) {
      const saved = this.#savedTexts.get(keyText(key));
      const before = saved ?? (previous && textAt(previous, key.id, key.path));
      loseWhenReplaced(waiting, key, before, textAt(this.#confirmed, key.id, key.path), findings);
    }
    findings.renamings.push(...avoidTakenIds(new Working(this.#confirmed), waiting, view));
    this.#rebuild(findings, null);
  }

  #giveUp(frame: RefusedFrame, findings: Findings): void {
    const entries = this.queue.settle();
    const surroundings = { confirmed: this.#confirmed ?? load({}), graves: this.#graves };
    for (const entry of entries) withdraw(entry, this.queue.entries, surroundings, findings);
    this.#rebuild(findings, null, entries);
    for (const entry of entries) {
      this.history.refused(entry);
      this.events.emit("refused", refusalOf(frame, entry));
    }
  }

  /** Apply what waits on top of what is confirmed, and tell everybody what that changes. */
  #rebuild(findings: Findings, by: Other | null, refused: readonly Pending[] = []): void {
    this.queue.sweep();
    const before = this.#view;
    const work = new Working(this.#confirmed ?? load({}));
    for (const entry of this.queue.entries) entry.inverse = applied(work, entry.ops);
    const next = work.state();
    this.#view = before === null ? next : sharing(before, next);
    for (const renaming of findings.renamings) {
      this.#fields.follow(renaming.from, renaming.to);
      this.history.nodeRenamed(renaming);
    }
    this.#tellHistory(before, findings, by, refused);
    this.#fields.tell(typedByOthers(findings), null);
    for (const { from, to } of findings.renamings) this.events.emit("renamed", { from, to });
    for (const lost of findings.lost) this.events.emit("conflict", lost);
  }

  #tellHistory(before: DraftState | null, findings: Findings, by: Other | null, refused: readonly Pending[]): void {
    for (const lost of findings.lost) this.history.forgetTyping(lost);
    const typed = typedByOthers(findings);
    for (const key of before === null ? [] : this.history.typedFields()) {
      const moved = findings.renamings.find((renaming) => renaming.to === key.id);
      const from = (before && textAt(before, moved?.from ?? key.id, key.path)) ?? "";
      const changes = changesOf(key, from, this.textAt(key.id, key.path) ?? "", typed);
      if (changes !== null) this.history.textChanged(key, changes, by, refused);
    }
    this.history.refresh();
  }
}

function applied(work: Working, ops: readonly Operation[]): Operation[] | null {
  try {
    return apply(work, ops);
  } catch (error) {
    if (error instanceof Refused) return null; // shown again when it fits again, or else the server will refuse it
    throw error;
  }
}
