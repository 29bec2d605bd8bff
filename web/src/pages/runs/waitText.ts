import { timeAgo } from "../../ui/time";

/** Why a run waits, as it says itself. */
export function waitText(waiting: Record<string, unknown>): string {
  switch (waiting.type) {
    case "time":
      return `Sleeps; goes on ${typeof waiting.until === "string" ? timeAgo(waiting.until) : "later"}`;
    case "limit":
      return `Waits for a place: at most ${waiting.runs} runs of this workflow at once`;
    case "signal":
      return `Waits for the signal ${waiting.signal ?? waiting.name ?? ""}`;
    case "run":
      return "Waits for a run that it called";
    case "several":
      return `Waits for ${waiting.count} things at once`;
    case "worker":
      return typeof waiting.message === "string" ? waiting.message : "Waits for a worker that can run it";
    default:
      return typeof waiting.message === "string" ? waiting.message : `Waits: ${JSON.stringify(waiting)}`;
  }
}
