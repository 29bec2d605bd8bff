// @vitest-environment node

// The socket that comes back, and what one shows of oneself over it.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Connection, TicketRefused } from "../connection.ts";
import type { ServerFrame } from "../frames.ts";
import { Company, type Someone, THREE_NODES } from "./company.ts";
import { FakeServer, FakeSocket } from "./fake_server.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.clearAllTimers();
  vi.useRealTimers();
});

let made = 0;

function connect(open?: () => Promise<FakeSocket>, random = () => 1) {
  made += 1;
  const url = `connection-${made}`;
  const server = new FakeServer();
  const events = {
    opened: vi.fn(),
    received: vi.fn((_: ServerFrame) => undefined),
    lost: vi.fn(),
    closed: vi.fn(),
  };
  const Socket = server.socketClass();
  const connection = new Connection(open ?? (async () => new Socket(url)), events, random);
  connection.start();
  const count = () => FakeSocket.all.get(url)?.length ?? 0;
  return { connection, events, count, socket: () => FakeSocket.latest(url) as FakeSocket };
}

test("it waits longer and longer before it comes back, up to 30 s", async () => {
  const { count, socket } = connect();
  await vi.advanceTimersByTimeAsync(0);
  const waits: number[] = [];
  for (let attempt = 1; attempt < 9; attempt += 1) {
    socket().cut(1006);
    for (let waited = 0; count() === attempt; waited += 500) {
      await vi.advanceTimersByTimeAsync(500);
      waits[attempt - 1] = waited + 500;
    }
  }
  expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
});

test("it comes back at different times, half the delay apart at most", async () => {
  const { count, socket } = connect(undefined, () => 0);
  await vi.advanceTimersByTimeAsync(0);
  socket().cut(1006);
  await vi.advanceTimersByTimeAsync(249);
  expect(count()).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(count()).toBe(2);
});

test.each([4400, 4401, 4403, 4404, 4413])("after %i it does not come back", async (code) => {
  const { count, socket, events } = connect();
  await vi.advanceTimersByTimeAsync(0);
  socket().open();
  socket().cut(code, "No.");
  await vi.advanceTimersByTimeAsync(120_000);
  expect(events.closed).toHaveBeenCalledWith({ code, reason: "No." });
  expect(count()).toBe(1);
});

test.each([1000, 1006, 1012, 4503, 4508, 4529])("after %i it comes back", async (code) => {
  const { count, socket } = connect();
  await vi.advanceTimersByTimeAsync(0);
  socket().open();
  socket().cut(code);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(count()).toBe(2);
});

test("a refused ticket is final, a failed one is tried again", async () => {
  const refused = connect(() => Promise.reject(new TicketRefused(401, "Sign in.")));
  await vi.advanceTimersByTimeAsync(0);
  expect(refused.events.closed).toHaveBeenCalledWith({ code: 4401, reason: "Sign in." });
  const open = vi.fn(() => Promise.reject(new Error("The network is away.")));
  const failed = connect(open);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(failed.events.closed).not.toHaveBeenCalled();
  expect(open.mock.calls.length).toBeGreaterThan(1);
});

test("a silent connection is asked, and left when it stays silent", async () => {
  const { count, socket } = connect();
  await vi.advanceTimersByTimeAsync(0);
  socket().open();
  await vi.advanceTimersByTimeAsync(26_000);
  expect(socket().up).toEqual(['{"type":"ping"}']);
  await vi.advanceTimersByTimeAsync(12_000);
  expect(count()).toBe(2);
});

test("a socket that never opens is given up", async () => {
  const { count } = connect();
  await vi.advanceTimersByTimeAsync(22_000);
  expect(count()).toBe(2);
});

test("it hurries when told that the network is back", async () => {
  const { connection, count, socket } = connect();
  await vi.advanceTimersByTimeAsync(0);
  for (let n = 0; n < 3; n += 1) {
    socket().cut(1006);
    connection.hurry();
    await vi.advanceTimersByTimeAsync(1);
  }
  expect(count()).toBe(4);
});

test("what an abandoned socket says is not heard", async () => {
  const { connection, events, socket } = connect();
  await vi.advanceTimersByTimeAsync(0);
  socket().open();
  const before = socket();
  before.say({ type: "tick", seq: 1 });
  connection.renew();
  await vi.advanceTimersByTimeAsync(1);
  before.readyState = 1;
  before.letDown();
  expect(events.received).not.toHaveBeenCalled();
});

async function pair(): Promise<[Company, Someone, Someone]> {
  const company = new Company(THREE_NODES);
  return [company, await company.join("ada"), await company.join("bob")];
}

test("a server that stops is left when it says", async () => {
  const [company, ada] = await pair();
  const before = ada.socket;
  before?.say({ type: "reconnect", after_ms: 400 });
  before?.letDown();
  await vi.advanceTimersByTimeAsync(399);
  expect(ada.socket).toBe(before);
  await vi.advanceTimersByTimeAsync(2);
  await company.settle();
  expect(ada.socket).not.toBe(before);
  expect(ada.draft.snapshot().status).toBe("saved");
  await company.leave();
});

test("others see what one shows of oneself, 20 times a second at most, and the last state always", async () => {
  const [company, ada, bob] = await pair();
  for (let x = 0; x < 100; x += 1) {
    ada.draft.setPresence({ cursor: { x } });
    await vi.advanceTimersByTimeAsync(2);
  }
  const sent = ada.socket?.up.length ?? 0;
  expect(sent).toBeGreaterThanOrEqual(4);
  expect(sent).toBeLessThanOrEqual(5);
  await company.settle();
  const [peer] = bob.draft.snapshot().peers.values();
  expect(peer?.state).toEqual({ cursor: { x: 99 } });
  await company.leave();
});

test("what one shows of oneself changes nothing here when it comes back", async () => {
  const [company, ada, bob] = await pair();
  const before = ada.draft.snapshot();
  ada.draft.setPresence({ cursor: 1 });
  await company.settle();
  expect(ada.draft.snapshot()).toBe(before);
  bob.draft.setPresence({ cursor: 2 });
  await company.settle();
  expect(ada.draft.snapshot()).not.toBe(before);
  await company.leave();
});

test("presence is merged by key, and told again after a reconnect; peers are unknown meanwhile", async () => {
  const [company, ada, bob] = await pair();
  ada.draft.setPresence({ cursor: 1, selection: ["a"] });
  ada.draft.setPresence({ cursor: null });
  await company.settle();
  expect([...bob.draft.snapshot().peers.values()].map((peer) => peer.state)).toEqual([{ selection: ["a"] }]);
  ada.goOffline();
  expect(ada.draft.snapshot().peers.size).toBe(0);
  await company.settle();
  expect(bob.draft.snapshot().peers.size).toBe(0);
  ada.goOnline();
  await company.settle();
  expect([...bob.draft.snapshot().peers.values()].map((peer) => peer.state)).toEqual([{ selection: ["a"] }]);
  expect(ada.draft.snapshot().peers.size).toBe(1);
  await company.leave();
});
