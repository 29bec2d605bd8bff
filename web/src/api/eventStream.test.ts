import { afterEach, expect, test, vi } from "vitest";
import { ApiError } from "./errors";
import { eventsOf, readEvents, type StreamEvent } from "./eventStream";

function stream(...pieces: string[]): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(encoder.encode(piece));
      controller.close();
    },
  });
}

async function all(of: ReadableStream<Uint8Array>): Promise<StreamEvent[]> {
  const events: StreamEvent[] = [];
  for await (const event of eventsOf(of)) events.push(event);
  return events;
}

afterEach(() => vi.unstubAllGlobals());

test("events are read however the stream is cut, and comments are none", async () => {
  const events = await all(
    stream("retry: 1000\n\n: still", " here\n\nid: 3\nevent: step\nda", 'ta: {"a": 1}\n', "\n", "id: 4\nev"),
  );
  expect(events).toEqual([{ id: "3", kind: "step", data: { a: 1 } }]);
});

test("a broken stream is opened again behind the last event, until the end", async () => {
  const asked: (string | null)[] = [];
  const answers = [
    stream('id: 1\nevent: step\ndata: "a"\n\n'),
    stream('id: 2\nevent: step\ndata: "b"\n\nid: 2\nevent: end\ndata: "c"\n\n', 'id: 9\nevent: step\ndata: "d"\n\n'),
  ];
  vi.stubGlobal("fetch", async (_url: string, { headers }: RequestInit) => {
    asked.push(new Headers(headers).get("Last-Event-ID"));
    return new Response(answers[asked.length - 1]);
  });
  const told: unknown[] = [];
  const connected: boolean[] = [];
  await readEvents("/events", {
    signal: new AbortController().signal,
    onEvent: ({ data }) => told.push(data),
    onConnected: (now) => connected.push(now),
  });
  expect(asked).toEqual([null, "1"]);
  expect(told).toEqual(["a", "b", "c"]);
  expect(connected).toEqual([true, false, true]);
});

test("a refusal is thrown, and no repetition is tried", async () => {
  const fetching = vi.fn(async () => Response.json({ error: "not_found", message: "gone" }, { status: 404 }));
  vi.stubGlobal("fetch", fetching);
  const reading = readEvents("/events", { signal: new AbortController().signal, onEvent: () => {} });
  await expect(reading).rejects.toThrow(ApiError);
  expect(fetching).toHaveBeenCalledTimes(1);
});
