// The client library of collaborative editing: see README.md.

export { Refused } from "./check.ts";
export { type Closed, type Socket, type SocketClass, TicketRefused } from "./connection.ts";
export {
  completeNode,
  type Definition,
  edgeId,
  freshId,
  NODE_DEFAULTS,
  type NodePosition,
  type NodeRetry,
  type SentDefinition,
  type SentNode,
  type WorkflowEdge,
  type WorkflowNode,
} from "./definition.ts";
export { Draft, openDraft, type Snapshot, type Status } from "./draft.ts";
export type { DraftEvents } from "./events.ts";
export type { TextChange, TextField } from "./field.ts";
export type * from "./frames.ts";
export type { Other } from "./history.ts";
export { IndexedDbStore } from "./indexed_db_store.ts";
export { canonical, equal, type Json, type JsonObject } from "./json.ts";
export type * from "./operations.ts";
export type { Path } from "./paths.ts";
export type { LostText } from "./rebase.ts";
export type { Refusal } from "./refusal.ts";
export type { Undone } from "./replica.ts";
export type { DraftOptions } from "./session.ts";
export { MemoryStore, type OfflineStore, QueueLost, type SavedQueue, type TakenQueue } from "./store.ts";
