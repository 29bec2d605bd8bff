import { api, body } from "../api/client";
import type { Editor } from "../canvas/editor";
import { savedRevision } from "../canvas/running";

export type Trial = Awaited<ReturnType<typeof tryNode>>;

/** Runs one node by itself, as the draft has it now; with an input, or with what is pinned to it. */
export async function tryNode(editor: Editor, nodeId: string, given: { input?: unknown }) {
  const min_revision = await savedRevision(editor);
  const params = { path: { id: editor.workflowId, node_id: nodeId } };
  return body(api.POST("/api/workflows/{id}/draft/nodes/{node_id}/test", { params, body: { ...given, min_revision } }));
}
