// @vitest-environment node

// Several people in one text.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { changed, difference } from "../text.ts";
import { Company, PROMPT, type Someone, THREE_NODES } from "./company.ts";

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

test("two people type in one text at the same time, and both see both", async () => {
  ada.type("a", 5, " world");
  bob.type("a", 0, "> ");
  await company.settle();
  ada.type("a", 2, "Dear. ");
  bob.type("a", 13, "!");
  await company.settle();
  expect([ada.text("a"), bob.text("a")]).toEqual(["> Dear. Hello world!", "> Dear. Hello world!"]);
  expect([ada.lost, ada.refused, bob.refused]).toEqual([[], [], []]);
});

test("typing offline is merged with what others typed meanwhile", async () => {
  ada.goOffline();
  ada.type("a", 5, " world");
  bob.type("a", 0, "😀 ");
  await company.settle();
  ada.goOnline();
  await company.settle();
  expect(bob.text("a")).toBe("😀 Hello world");
});

test("one's typing survives a room that has forgotten what touched the text", async () => {
  ada.type("a", 5, "!");
  company.server.reload();
  await company.settle();
  bob.type("a", 0, ">");
  company.server.reload();
  await company.settle();
  expect([ada.text("a"), bob.text("a"), bob.refused]).toEqual([">Hello!", ">Hello!", []]);
});

test("a text that somebody replaced is shown, and what one typed is kept for copying", async () => {
  ada.goOffline();
  ada.type("a", 5, " world");
  bob.draft.edit([{ op: "node.set", id: "a", path: PROMPT, value: "Other" }]);
  await company.settle();
  ada.goOnline();
  await company.settle();
  expect(ada.text("a")).toBe("Other");
  expect(ada.lost).toEqual([{ id: "a", path: PROMPT, yours: "Hello world", theirs: "Other" }]);
  expect(ada.draft.snapshot()).toMatchObject({ status: "saved", pending: 0, canUndo: false });
});

test("a replacement that leaves the text as it was takes no typing", async () => {
  ada.goOffline();
  ada.type("a", 5, " world");
  bob.draft.edit([{ op: "draft.replace", definition: THREE_NODES }]);
  await company.settle();
  ada.goOnline();
  await company.settle();
  expect([bob.text("a"), ada.lost]).toEqual(["Hello world", []]);
});

test("the rest of an edit is made although its text was replaced", async () => {
  ada.goOffline();
  ada.draft.edit([
    { op: "text.edit", id: "a", path: PROMPT, changes: [5, [0, "!"]] },
    { op: "node.set", id: "b", path: ["name"], value: "Second" },
  ]);
  bob.draft.edit([{ op: "node.set", id: "a", path: PROMPT, value: "Other" }]);
  await company.settle();
  ada.goOnline();
  await company.settle();
  expect([bob.text("a"), bob.name("b"), ada.lost.length]).toEqual(["Other", "Second", 1]);
});

test("without the edits in between, typing is kept when the text is the same, and lost when it is not", async () => {
  ada.goOffline();
  ada.type("a", 5, " world");
  ada.draft.edit([{ op: "text.edit", id: "b", path: PROMPT, changes: [[0, "new"]] }]);
  bob.draft.edit([{ op: "text.edit", id: "b", path: PROMPT, changes: [[0, "Bob's"]] }]);
  await company.settle();
  company.server.forgotten = company.server.seq;
  ada.goOnline();
  await company.settle();
  expect([bob.text("a"), bob.text("b")]).toEqual(["Hello world", "Bob's"]);
  expect(ada.lost).toEqual([{ id: "b", path: PROMPT, yours: "new", theirs: "Bob's" }]);
});

test("typing goes on under the node's new id", async () => {
  const field = ada.draft.text("a", PROMPT);
  field.subscribe(() => undefined);
  ada.goOffline();
  field.edit([5, [0, "!"]]);
  bob.draft.edit([{ op: "node.rename", id: "a", to: "start" }]);
  await company.settle();
  ada.goOnline();
  await company.settle();
  expect([field.id, field.value, bob.text("start")]).toEqual(["start", "Hello!", "Hello!"]);
});

test("a field tells each change once, with where it comes from", async () => {
  const field = ada.draft.text("a", PROMPT);
  const heard: [unknown, string][] = [];
  let doc = field.value;
  field.subscribe(({ changes, origin }) => {
    doc = changed(doc, changes);
    heard.push([origin, doc]);
  });
  field.edit([5, [0, "!"]], "editor");
  bob.type("a", 0, ">");
  await company.settle();
  ada.draft.undo();
  expect(heard).toEqual([
    ["editor", "Hello!"],
    [null, ">Hello!"],
    [null, ">Hello"],
  ]);
  expect(field.version).toBe(3);
});

test("changes that are not made on the text as it is are refused at once", () => {
  expect(ada.draft.text("a", PROMPT).edit([4, [0, "!"]])).toBe(false);
  expect(ada.refused).toMatchObject([{ error: "bad_request", details: [{ field: "changes" }] }]);
});

test("a difference never cuts a character in two", () => {
  for (const [from, to] of [
    ["a😀b", "a😁b"],
    ["😀", "😀😀"],
    ["x", ""],
    ["one\ntwo", "one\nand\ntwo"],
  ] as const) {
    const changes = difference(from, to);
    expect(changed(from, changes)).toBe(to);
    expect(JSON.stringify(changes)).not.toMatch(/\\ud[89a-f]/i);
  }
});
