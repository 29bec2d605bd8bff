// What a draft tells beside its snapshot.

import type { RunStartedFrame, VersionDeployedFrame } from "./frames.ts";
import type { LostText } from "./rebase.ts";
import type { Refusal } from "./refusal.ts";

export type DraftEvents = {
  refused: Refusal;
  /** One's own typing was lost, because somebody else replaced the text as a whole. */
  conflict: LostText;
  /** A node has another id, because somebody renamed it, or because one's own new node had to take a free one. */
  renamed: { readonly from: string; readonly to: string };
  /** A frame of one's own is committed; as which edit is not known (null) when the whole draft came instead of it. */
  acknowledged: { readonly client: string; readonly id: number; readonly seq: number | null };
  version_deployed: VersionDeployedFrame;
  run_started: RunStartedFrame;
  /** The server's complaint about a frame, or a failure of the store. */
  error: { readonly error: string; readonly message: string };
};
