import { api, body } from "../api/client";
import { tellError } from "../ui/notify";
import type { Editor } from "./editor";

const PATIENCE_MS = 8_000;

/**
 * The number of the draft as one sees it, once the server has all of it: calls that use the draft name it, so that no
 * instance takes an older one. Rejects when the edits cannot be sent now.
 */
export function savedRevision({ draft }: Pick<Editor, "draft">, patienceMs = PATIENCE_MS): Promise<number> {
  return new Promise((resolve, reject) => {
    const look = () => {
      const { status, pending, seq } = draft.snapshot();
      if (pending === 0 && status !== "connecting") settle(() => resolve(seq));
      else if (status === "closed") settle(() => reject(unsaved()));
    };
    const stop = draft.subscribe(() => look());
    const timer = setTimeout(() => settle(() => reject(unsaved())), patienceMs);
    const settle = (tell: () => void) => {
      stop();
      clearTimeout(timer);
      tell();
    };
    look();
  });
}

function unsaved(): Error {
  return new Error("Your last changes have not reached the server yet. Try again when it says “Saved”.");
}

export interface Start {
  version: "draft" | "current";
  /** Left out: the run has none. */
  input?: unknown;
}

/** Start a run and watch it. Answers whether it was started; a refusal is told. */
export async function start(editor: Editor, { version, ...given }: Start): Promise<boolean> {
  try {
    const draft = version === "draft" ? { min_revision: await savedRevision(editor) } : {};
    const run = await body(
      api.POST("/api/workflows/{id}/execute", {
        params: { path: { id: editor.workflowId } },
        body: { version, ...given, ...draft },
      }),
    );
    editor.watch(run.id);
    return true;
  } catch (error) {
    tellError(error);
    return false;
  }
}
