import type { Snapshot } from "../collab";

type Shown = Pick<Snapshot, "status" | "pending" | "closed">;

/** What has become of one's edits, in the words of the bar. Only what the library knows is said. */
export function savedText({ status, pending, closed }: Shown): string {
  const kept = `${pending} ${pending === 1 ? "change" : "changes"} here`;
  switch (status) {
    case "connecting":
      return "Connecting …";
    case "saved":
      return "Saved";
    case "saving":
      return "Saving …";
    case "offline":
      return pending > 0 ? `Offline, ${kept}` : "Offline";
    case "closed":
      return pending > 0 ? `Closed, ${kept}: ${closed?.reason}` : `Closed: ${closed?.reason ?? ""}`;
  }
}
