import { useDocumentVisibility } from "@mantine/hooks";
import { useEffect, useRef, useState } from "react";
import { asApiError } from "../api/errors";
import { readEvents } from "../api/eventStream";
import { type LiveRun, NOTHING_YET, told } from "./liveRun";

export interface Following extends LiveRun {
  /** Events are coming in. */
  connected: boolean;
  error: Error | null;
}

/**
 * Follows a run by its events, from its beginning to its end. The stream is open only while the page is visible, as a
 * browser has six connections to a server; afterwards it goes on where it was. Null follows nothing.
 */
export function useLiveRun(runId: string | null): Following {
  const [known, setKnown] = useState<LiveRun>(NOTHING_YET);
  const [connected, setConnected] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  const latest = useRef<{ runId: string | null; known: LiveRun }>({ runId, known: NOTHING_YET });
  const visible = useDocumentVisibility() === "visible";

  useEffect(() => {
    if (latest.current.runId !== runId) latest.current = { runId, known: NOTHING_YET };
    setKnown(latest.current.known);
    setError(null);
    if (!runId || !visible || latest.current.known.ended) return;
    const closing = new AbortController();
    const show = frameByFrame(() => setKnown(latest.current.known));
    readEvents(`/api/workflow-runs/${runId}/events`, {
      after: latest.current.known.position,
      signal: closing.signal,
      onConnected: setConnected,
      onEvent: (event) => {
        latest.current.known = told(latest.current.known, event);
        show();
      },
    })
      .catch((reason) => setError(asApiError(reason)))
      .finally(() => setConnected(false));
    return () => closing.abort();
  }, [runId, visible]);

  return { ...known, connected, error };
}

/** Many events within a frame are one change of the page. */
function frameByFrame(show: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      show();
    });
  };
}
