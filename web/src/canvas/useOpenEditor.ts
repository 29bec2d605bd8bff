import { useEffect, useState } from "react";
import { useNodeTypes } from "../app/nodeTypes";
import { useMe } from "../app/session";
import { IndexedDbStore, openDraft } from "../collab";
import { Editor } from "./editor";
import { revert } from "./history";
import { tellEvents } from "./tellings";

/** Opens a workflow's draft as long as the page shows it. Null until there is what is needed for that. */
export function useOpenEditor(workflowId: string): { editor: Editor | null; error: Error | null; retry: () => void } {
  const types = useNodeTypes();
  const me = useMe().data?.id;
  const [editor, setEditor] = useState<Editor | null>(null);
  const known = types.data;
  useEffect(() => {
    if (!known || !me) return;
    const draft = openDraft({
      workflowId,
      url: () => socketUrl(workflowId),
      // Without it (a private window of some browsers) edits live as long as the page.
      store: "indexedDB" in globalThis ? new IndexedDbStore({ database: `mel-drafts-${me}` }) : undefined,
      revert: (seq) => revert(workflowId, { edits: [seq], force: true }),
    });
    const opened = new Editor(workflowId, draft, new Map(known.map((type) => [type.id, type])));
    opened.start();
    const quiet = tellEvents(opened);
    const hurry = () => draft.hurry();
    const flush = () => void draft.flush();
    window.addEventListener("online", hurry);
    window.addEventListener("pagehide", flush);
    setEditor(opened);
    return () => {
      window.removeEventListener("online", hurry);
      window.removeEventListener("pagehide", flush);
      quiet();
      opened.stop();
      void draft.close();
      setEditor(null);
    };
  }, [workflowId, known, me]);
  return { editor, error: types.error, retry: () => void types.refetch() };
}

function socketUrl(workflowId: string): string {
  const { protocol, host } = window.location;
  return `${protocol === "https:" ? "wss" : "ws"}://${host}/api/ws/workflows/${workflowId}`;
}
