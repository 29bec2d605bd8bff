import { api, body } from "../api/client";
import type { HistoryEdit } from "./edited";

export interface HistoryPage {
  readonly edits: readonly HistoryEdit[];
  readonly next_cursor: number | null;
}

/** Either the edits to take back, or the one after which the draft is to be as it was. */
export interface Revert {
  readonly edits?: number[];
  readonly to?: number;
  readonly force?: boolean;
}

const PAGE = 50;

export async function readHistory(workflowId: string, cursor: number | null): Promise<HistoryPage> {
  const query = { limit: PAGE, ...(cursor === null ? {} : { cursor }) };
  const params = { path: { id: workflowId }, query };
  return (await body(api.GET("/api/workflows/{id}/draft/history", { params }))) as unknown as HistoryPage;
}

/** Refused with 409 when others have built on it, unless `force` is given. */
export async function revert(workflowId: string, wanted: Revert): Promise<void> {
  const params = { path: { id: workflowId } };
  await api.POST("/api/workflows/{id}/draft/revert", { params, body: { force: false, ...wanted } });
}

/** The newest edit that removed a node; null when it is not among the last ones. */
export async function removalOf(workflowId: string, nodeId: string): Promise<HistoryEdit | null> {
  const { edits } = await readHistory(workflowId, null);
  return edits.find(({ ops }) => ops.some((op) => op.op === "node.remove" && op.id === nodeId)) ?? null;
}
