import type { StreamEvent } from "../api/eventStream";
import type { Run, Step } from "../api/schema";

/** A step without its values, as events tell it. */
export type StepNews = Omit<Step, "input" | "output" | "logs">;

export interface LogLine {
  step_key: string;
  level?: string;
  message?: string;
  time?: string;
  [field: string]: unknown;
}

/** What is known of a run by its events. Steps are in the order in which they began. */
export interface LiveRun {
  run: Run | null;
  steps: ReadonlyMap<string, StepNews>;
  logs: readonly LogLine[];
  /** Text that a step is making right now, by the step's key. */
  texts: ReadonlyMap<string, string>;
  /** The id of the last event: what a stream goes on behind. */
  position: string;
  ended: boolean;
}

export const NOTHING_YET: LiveRun = {
  run: null,
  steps: new Map(),
  logs: [],
  texts: new Map(),
  position: "",
  ended: false,
};

const MOST_LINES = 2_000;

/** What is known after one more event. Telling an event twice changes nothing but logs that come twice. */
export function told(known: LiveRun, { id, kind, data }: StreamEvent): LiveRun {
  const next = { ...known, position: id || known.position };
  switch (kind) {
    case "run":
      return { ...next, run: { ...known.run, ...(data as Run), input: known.run?.input } };
    case "end":
      return { ...next, run: data as Run, ended: true };
    case "step": {
      const step = data as StepNews;
      return { ...next, steps: new Map(known.steps).set(step.step_key, step) };
    }
    case "log":
      return { ...next, logs: [...known.logs, data as LogLine].slice(-MOST_LINES) };
    case "token":
      return { ...next, texts: withPiece(known.texts, data as Piece) };
    default:
      return next;
  }
}

interface Piece {
  step_key: string;
  attempt: number;
  offset: number;
  text: string;
}

/** A piece says where it begins: one that follows a gap begins anew, as the step's output will have it all. */
function withPiece(texts: LiveRun["texts"], { step_key, offset, text }: Piece): LiveRun["texts"] {
  const before = texts.get(step_key) ?? "";
  const follows = offset <= before.length;
  return new Map(texts).set(step_key, follows ? before.slice(0, offset) + text : `… ${text}`);
}
