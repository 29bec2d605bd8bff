// What travels over the socket: docs/asyncapi.yaml in TypeScript.

import type { Problem } from "./check.ts";
import type { SentDefinition } from "./definition.ts";
import type { Json, JsonObject } from "./json.ts";
import type { Operation } from "./operations.ts";

export type Author = { readonly id: string; readonly name: string };

/** Somebody in the room. Identity and colour come from the session; `state` is what they show of themselves. */
export type Peer = { readonly id: string; readonly name: string; readonly color: string; readonly state: JsonObject };

export type You = { readonly peer: string; readonly id: string; readonly name: string; readonly color: string };

export type JoinFrame = { readonly type: "join"; readonly client: string; readonly since?: number };
export type SentEditFrame = { readonly type: "edit"; readonly id: number; readonly ops: readonly Operation[] };
export type PresenceFrame = { readonly type: "presence"; readonly state: JsonObject };
export type PingFrame = { readonly type: "ping" };
export type ClientFrame = JoinFrame | SentEditFrame | PresenceFrame | PingFrame;

export type JoinedFrame = {
  readonly type: "joined";
  readonly seq: number;
  readonly you: You;
  readonly role: string;
  readonly definition?: SentDefinition;
  readonly edits?: readonly EditFrame[];
  /** The last committed id of this client, 0 if none. */
  readonly last_id: number;
  readonly presence: { readonly [peer: string]: Peer };
  readonly problems?: readonly Json[];
  readonly server_time?: string;
};

export type EditFrame = {
  readonly type: "edit";
  readonly seq: number;
  readonly by: Author | null;
  readonly client: string;
  readonly id: number;
  readonly at: string;
  readonly ops: readonly Operation[];
};

/** A thing that was removed: what, by whom, when, by which edit. */
export type Gone = {
  readonly id: string;
  readonly by: Author | string | null;
  readonly at: string;
  readonly seq: number;
};

export type RefusedFrame = {
  readonly type: "refused";
  readonly id: number;
  readonly error: string;
  readonly message: string;
  readonly details?: readonly Problem[];
  readonly gone?: Gone;
  /** The sequence number of the room when it refused. */
  readonly seq?: number;
};

export type PresenceChangesFrame = {
  readonly type: "presence";
  readonly changes: { readonly [peer: string]: Peer | null };
};
export type ProblemsFrame = { readonly type: "problems"; readonly seq: number; readonly problems: readonly Json[] };
export type TickFrame = { readonly type: "tick"; readonly seq: number };
export type VersionDeployedFrame = {
  readonly type: "version_deployed";
  readonly version_number: number;
  readonly by: Json;
};
export type RunStartedFrame = { readonly type: "run_started"; readonly run_id: string; readonly status: string };
export type ReconnectFrame = { readonly type: "reconnect"; readonly after_ms: number };
export type ErrorFrame = { readonly type: "error"; readonly error: string; readonly message: string };

export type ServerFrame =
  | JoinedFrame
  | EditFrame
  | RefusedFrame
  | PresenceChangesFrame
  | ProblemsFrame
  | TickFrame
  | VersionDeployedFrame
  | RunStartedFrame
  | ReconnectFrame
  | ErrorFrame;
