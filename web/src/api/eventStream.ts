import { ApiError } from "./errors";

export interface StreamEvent {
  id: string;
  kind: string;
  data: unknown;
}

const RETRY_MS = 1000;
const LONGEST_RETRY_MS = 10_000;

interface Options {
  /** The id of the last event that was seen before, to go on behind it. */
  after?: string;
  signal: AbortSignal;
  onEvent: (event: StreamEvent) => void;
  /** True while events come, false while the stream is being opened again. */
  onConnected?: (connected: boolean) => void;
}

/**
 * Reads Server-Sent Events until the event `end` or until `signal` aborts. A broken stream is opened again, on whatever
 * instance answers, behind the last event seen. A refusal (4xx) is thrown. `EventSource` can neither begin behind an
 * event nor tell why it was refused.
 */
export async function readEvents(url: string, { after = "", signal, onEvent, onConnected }: Options): Promise<void> {
  let last = after;
  let failures = 0;
  while (!signal.aborted) {
    try {
      const response = await fetch(url, { signal, headers: last ? { "Last-Event-ID": last } : {} });
      if (!response.ok || !response.body) throw await ApiError.of(response);
      failures = 0;
      onConnected?.(true);
      for await (const event of eventsOf(response.body)) {
        last = event.id || last;
        onEvent(event);
        if (event.kind === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500) throw error;
      failures += 1;
    }
    onConnected?.(false);
    await pause(Math.min(RETRY_MS * 2 ** Math.max(0, failures - 1), LONGEST_RETRY_MS), signal);
  }
}

/** The events of a stream; comments and what is cut off at its end are no events. */
export async function* eventsOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<StreamEvent> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      pending += decoder.decode(value, { stream: true });
      const frames = pending.split("\n\n");
      pending = frames.pop() ?? "";
      for (const frame of frames) {
        const event = eventOf(frame);
        if (event) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function eventOf(frame: string): StreamEvent | null {
  const fields = new Map<string, string>();
  for (const line of frame.split("\n")) {
    const at = line.indexOf(":");
    if (at > 0) fields.set(line.slice(0, at), line.slice(at + 1).trimStart());
  }
  const data = fields.get("data");
  if (data === undefined) return null;
  return { id: fields.get("id") ?? "", kind: fields.get("event") ?? "message", data: JSON.parse(data) };
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
