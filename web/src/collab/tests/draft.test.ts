// @vitest-environment node

// What a draft shows and does, told with people on the model server.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { edgeId } from "../definition.ts";
import { Company, type Someone, THREE_NODES } from "./company.ts";

let company: Company;
let ada: Someone;
let bob: Someone;

beforeEach(async () => {
  vi.useFakeTimers();
  company = new Company(THREE_NODES);
  ada = await company.join("ada");
  bob = await company.join("bob");
});

afterEach(async () => {
  await company.leave();
  vi.useRealTimers();
});

test("an edit is shown at once, saved soon, and seen by others", async () => {
  ada.rename("a", "First");
  expect(ada.name("a")).toBe("First");
  expect(ada.draft.snapshot()).toMatchObject({ status: "saving", pending: 1 });
  expect(bob.name("a")).toBe("A");
  await company.settle();
  expect(ada.draft.snapshot()).toMatchObject({ status: "saved", pending: 0 });
  expect(bob.name("a")).toBe("First");
});

test("what has not changed is the same object", async () => {
  const before = ada.draft.snapshot();
  expect(ada.draft.snapshot()).toBe(before);
  ada.rename("a", "First");
  const edited = ada.draft.snapshot();
  expect(edited.nodes.get("b")).toBe(before.nodes.get("b"));
  expect(edited.edges).toBe(before.edges);
  await company.settle();
  const saved = ada.draft.snapshot();
  expect(saved.definition).toBe(edited.definition); // being confirmed changes nothing that is to be seen
  bob.rename("c", "Last");
  await company.settle();
  expect(ada.draft.snapshot().nodes.get("a")).toBe(edited.nodes.get("a"));
  expect(ada.draft.snapshot().nodes.get("c")).not.toBe(edited.nodes.get("c"));
});

test("the later edit of a place wins, everywhere", async () => {
  ada.rename("a", "Ada's");
  bob.rename("a", "Bob's");
  bob.socket?.letUp();
  await company.settle();
  expect([ada.name("a"), bob.name("a")]).toEqual(["Ada's", "Ada's"]);
});

test("edits made offline are kept, counted, and sent on return", async () => {
  ada.goOffline();
  ada.rename("a", "First");
  ada.draft.edit([{ op: "node.remove", id: "b" }]);
  expect(ada.draft.snapshot()).toMatchObject({ status: "offline", pending: 2 });
  bob.rename("c", "Last");
  await company.settle();
  expect(ada.name("c")).toBe("C");
  ada.goOnline();
  await company.settle();
  expect(ada.draft.snapshot()).toMatchObject({ status: "saved", pending: 0 });
  expect([bob.name("a"), bob.node("b"), ada.name("c")]).toEqual(["First", undefined, "Last"]);
});

test("an edit that was committed just before the connection broke is not made twice", async () => {
  ada.draft.edit([{ op: "node.add", id: "d", type: "log" }]);
  ada.socket?.letUp();
  ada.socket?.cut();
  await company.settle();
  expect(company.server.log).toHaveLength(1);
  expect([...ada.draft.snapshot().nodes.keys()]).toEqual(["a", "b", "c", "d"]);
  expect(ada.draft.snapshot().status).toBe("saved");
});

test("waiting edits of the same place become one, those of others stay their own", async () => {
  ada.goOffline();
  for (const x of [1, 2, 3]) ada.draft.edit([{ op: "node.set", id: "a", path: ["position"], value: { x, y: 0 } }]);
  ada.rename("a", "First");
  ada.rename("b", "Second");
  expect(ada.draft.snapshot().pending).toBe(3);
});

test("edits that wait are sent together, and a refused one takes none of the others along", async () => {
  bob.draft.edit([{ op: "node.remove", id: "b" }]);
  bob.socket?.letUp();
  ada.goOffline();
  ada.rename("a", "First");
  ada.rename("b", "Nobody");
  ada.rename("c", "Last");
  ada.goOnline();
  await company.settle();
  expect([bob.name("a"), bob.name("c")]).toEqual(["First", "Last"]);
  expect(ada.refused.map(({ error, gone, local }) => ({ error, id: gone?.id, local }))).toEqual([
    { error: "gone", id: "b", local: false },
  ]);
});

test("a removed node is restored with its edges, from what was seen", async () => {
  ada.goOffline();
  ada.rename("b", "Mine");
  bob.draft.edit([{ op: "node.remove", id: "b" }]);
  await company.settle();
  ada.goOnline();
  await company.settle();
  const [refusal] = ada.refused;
  expect(await ada.draft.restore(refusal?.gone ?? { id: "", seq: 0 })).toBe(true);
  await company.settle();
  expect(bob.name("b")).toBe("B");
  expect([...bob.draft.snapshot().edges.keys()].sort()).toEqual(
    [edgeId("a", "out", "b", "in"), edgeId("b", "out", "c", "in")].sort(),
  );
});

test("a removal that was not seen is undone on the server", async () => {
  bob.draft.edit([{ op: "node.remove", id: "b" }]);
  await company.settle();
  const revert = vi.fn(async () => undefined);
  const eve = await company.join("eve", { revert });
  expect(await eve.draft.restore({ id: "b", seq: 2 })).toBe(true);
  expect(revert).toHaveBeenCalledWith(2);
});

test("a new node whose id somebody took first gets another one, and what waits follows it", async () => {
  ada.goOffline();
  ada.draft.edit([
    { op: "node.add", id: "http_request", type: "http_request" },
    { op: "edge.add", source: "a", target: "http_request" },
  ]);
  ada.rename("http_request", "Mine");
  ada.draft.edit([{ op: "node.set", id: "c", path: ["config", "message"], value: "{{ steps.http_request.output }}" }]);
  bob.draft.edit([{ op: "node.add", id: "http_request", type: "http_request", name: "Bob's" }]);
  const renamed = vi.fn();
  ada.draft.on("renamed", renamed);
  await company.settle();
  ada.goOnline();
  await company.settle();
  expect(renamed).toHaveBeenCalledWith({ from: "http_request", to: "http_request_2" });
  expect([bob.name("http_request"), bob.name("http_request_2")]).toEqual(["Bob's", "Mine"]);
  expect(bob.draft.snapshot().edges.has(edgeId("a", "out", "http_request_2", "in"))).toBe(true);
  expect(bob.node("c")?.config.message).toBe("{{ steps.http_request_2.output }}");
  expect(ada.refused).toEqual([]);
});

test("a node that somebody renamed is followed by what waits", async () => {
  ada.goOffline();
  ada.rename("a", "Mine");
  ada.draft.edit([{ op: "edge.remove", id: edgeId("a", "out", "b", "in") }]);
  bob.draft.edit([{ op: "node.rename", id: "a", to: "start" }]);
  await company.settle();
  ada.goOnline();
  await company.settle();
  expect(bob.name("start")).toBe("Mine");
  expect([...bob.draft.snapshot().edges.values()].map((edge) => edge.source)).toEqual(["b"]);
});

test("what somebody else has done already is not refused", async () => {
  ada.goOffline();
  ada.draft.edit([{ op: "edge.add", source: "a", target: "c" }]);
  ada.draft.edit([{ op: "node.remove", id: "b" }]);
  bob.draft.edit([{ op: "edge.add", source: "a", target: "c" }]);
  bob.draft.edit([{ op: "node.remove", id: "b" }]);
  await company.settle();
  ada.goOnline();
  await company.settle();
  expect(ada.refused).toEqual([]);
  expect(ada.draft.snapshot()).toMatchObject({ status: "saved", pending: 0 });
});

test("an edit that cannot be made is refused at once, and changes nothing", () => {
  const before = ada.draft.snapshot().definition;
  const done = ada.draft.edit([
    { op: "node.set", id: "a", path: ["name"], value: "First" },
    { op: "node.set", id: "nobody", path: ["name"], value: "x" },
  ]);
  expect(done).toBe(false);
  expect(ada.refused).toMatchObject([{ error: "not_found", local: true }]);
  expect(ada.draft.snapshot().definition).toBe(before);
});

test("an edit larger than a frame is refused at once, before it closes the connection", () => {
  const value = "ä".repeat(600_000);
  expect(ada.draft.edit([{ op: "node.set", id: "a", path: ["config", "text"], value }])).toBe(false);
  expect(ada.refused).toMatchObject([{ error: "too_large", local: true }]);
});

test("a refusal that passes is tried again under the same id", async () => {
  ada.rename("a", "First");
  const [frame] = ada.socket?.up.splice(0) ?? [];
  ada.socket?.say({ type: "refused", id: 1, error: "unavailable", message: "The database is away.", seq: 1 });
  ada.socket?.letDown();
  await vi.advanceTimersByTimeAsync(1_100);
  expect(ada.socket?.up).toEqual([frame]);
  await company.settle();
  expect([ada.refused, bob.name("a")]).toEqual([[], "First"]);
});

test("a copy that has missed an edit joins again and gets what is missing", async () => {
  bob.rename("a", "First");
  bob.socket?.letUp();
  ada.socket?.down.splice(0); // the edit is lost on its way
  bob.rename("b", "Second");
  await company.settle();
  expect([ada.name("a"), ada.name("b")]).toEqual(["First", "Second"]);
});

test("an edit that comes twice is applied once", async () => {
  bob.type("a", 0, ">");
  bob.socket?.letUp();
  const [frame] = ada.socket?.down ?? [];
  ada.socket?.down.push(frame ?? "");
  await company.settle();
  expect(ada.text("a")).toBe(">Hello");
  expect(ada.draft.snapshot().seq).toBe(2);
});

test("a tick tells that something was missed", async () => {
  bob.rename("a", "First");
  bob.socket?.letUp();
  ada.socket?.down.splice(0);
  ada.socket?.say({ type: "tick", seq: company.server.seq });
  await company.settle();
  expect(ada.name("a")).toBe("First");
});

test("a copy to which a committed edit does not fit is thrown away and loaded anew", async () => {
  const wrong = [{ op: "node.set", id: "nobody", path: ["name"], value: "x" }] as const;
  const frame = { type: "edit", seq: 2, by: null, client: "x", id: 1, at: "", ops: wrong } as const;
  ada.socket?.say(frame);
  await company.settle();
  expect(ada.draft.snapshot()).toMatchObject({ status: "saved", seq: 1 });
});

test("an edit that stays unanswered is found out by joining again", async () => {
  ada.rename("a", "First");
  ada.socket?.up.splice(0); // lost without the connection breaking
  await vi.advanceTimersByTimeAsync(13_000);
  await company.settle();
  expect(bob.name("a")).toBe("First");
});

test("frames of a client are at least 25 ms apart", async () => {
  for (let n = 0; n < 5; n += 1) {
    ada.draft.edit([{ op: "node.add", id: `n${n}`, type: "log" }]);
    ada.socket?.letAll();
  }
  expect(company.server.log).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(25);
  ada.socket?.letAll();
  expect(company.server.log).toHaveLength(2);
  expect(company.server.log.at(-1)?.ops).toHaveLength(4);
});

test("who is not wanted any more is told why, keeps what waits, and does not come back", async () => {
  ada.rename("a", "First");
  ada.socket?.cut(4403, "Your access was taken away.");
  expect(ada.draft.snapshot()).toMatchObject({
    status: "closed",
    closed: { code: 4403, reason: "Your access was taken away." },
    pending: 1,
  });
  await company.settle();
  expect(ada.draft.edit([{ op: "node.remove", id: "a" }])).toBe(false);
  expect(ada.refused).toMatchObject([{ error: "closed" }]);
  expect(company.server.sockets.size).toBe(1);
});

test("what the server tells beside edits is told on", async () => {
  const told: unknown[] = [];
  for (const name of ["version_deployed", "run_started", "error"] as const) ada.draft.on(name, (it) => told.push(it));
  ada.socket?.say({ type: "version_deployed", version_number: 3, by: null });
  ada.socket?.say({ type: "run_started", run_id: "r", status: "running" });
  ada.socket?.say({ type: "error", error: "bad_request", message: "No." });
  ada.socket?.say({ type: "problems", seq: 1, problems: [{ field: "nodes.a" }] });
  await company.settle();
  expect(told).toHaveLength(3);
  expect(ada.draft.snapshot().problems).toEqual([{ field: "nodes.a" }]);
});
