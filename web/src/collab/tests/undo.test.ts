// @vitest-environment node

// Undo and redo of one's own edits, among those of others.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
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

test("nothing is undone when nothing was done", () => {
  expect(ada.draft.canUndo).toBe(false);
  expect(ada.draft.undo()).toEqual({ done: false });
});

test("undo takes back one's own last edit, redo makes it again", async () => {
  ada.rename("a", "First");
  await company.settle();
  expect(ada.draft.undo()).toMatchObject({ done: true });
  await company.settle();
  expect([ada.name("a"), bob.name("a"), ada.draft.canUndo, ada.draft.canRedo]).toEqual(["A", "A", false, true]);
  ada.draft.redo();
  await company.settle();
  expect([bob.name("a"), ada.draft.canUndo, ada.draft.canRedo]).toEqual(["First", true, false]);
});

test("others' edits stay when one undoes one's own", async () => {
  ada.rename("a", "First");
  await company.settle();
  bob.rename("b", "Second");
  await company.settle();
  ada.draft.undo();
  await company.settle();
  expect([bob.name("a"), bob.name("b")]).toEqual(["A", "Second"]);
});

test("undo asks first when others have built on the edit, and goes on when told to", async () => {
  ada.rename("a", "First");
  await company.settle();
  bob.rename("a", "Bob's");
  await company.settle();
  const answer = ada.draft.undo();
  expect(answer).toMatchObject({ done: false, asked: [{ seq: 3, by: { name: expect.any(String) } }] });
  expect(ada.name("a")).toBe("Bob's");
  expect(ada.draft.undo({ force: true })).toMatchObject({ done: true });
  await company.settle();
  expect(bob.name("a")).toBe("A");
});

test("undo of a new node asks when somebody has connected it", async () => {
  ada.draft.edit([{ op: "node.add", id: "d", type: "log" }]);
  await company.settle();
  bob.draft.edit([{ op: "edge.add", source: "c", target: "d" }]);
  await company.settle();
  expect(ada.draft.undo()).toMatchObject({ done: false, asked: [{ seq: 3 }] });
});

test("what came before one's own edit is not built on it, and is what undo goes back to", async () => {
  ada.rename("a", "First");
  bob.rename("a", "Bob's");
  bob.socket?.letUp(); // is committed first
  await company.settle();
  expect(ada.name("a")).toBe("First");
  expect(ada.draft.undo()).toMatchObject({ done: true });
  await company.settle();
  expect(bob.name("a")).toBe("Bob's");
});

test("an edit that changes a text and touches it otherwise can be undone", async () => {
  const typed = { op: "text.edit", id: "a", path: ["name"], changes: [1, [0, "da"]] } as const;
  ada.draft.edit([typed, { op: "node.set", id: "a", path: ["name"], value: "Another" }]);
  await company.settle();
  expect(bob.name("a")).toBe("Another");
  ada.draft.undo();
  await company.settle();
  expect([ada.name("a"), bob.name("a")]).toEqual(["A", "A"]);
});

test("a removed node comes back with its edges", async () => {
  ada.draft.edit([{ op: "node.remove", id: "b" }]);
  await company.settle();
  ada.draft.undo();
  await company.settle();
  expect(bob.name("b")).toBe("B");
  expect(bob.draft.snapshot().edges.size).toBe(2);
});

test("what cannot be undone any more is passed over", async () => {
  ada.rename("a", "First");
  await company.settle();
  ada.rename("b", "Second");
  await company.settle();
  bob.draft.edit([{ op: "node.remove", id: "b" }]);
  await company.settle();
  expect(ada.draft.undo({ force: true })).toMatchObject({ done: true });
  expect(ada.name("a")).toBe("A");
});

test("quick edits of the same place are one step, slow ones are not", async () => {
  ada.rename("a", "1");
  ada.rename("a", "12");
  await vi.advanceTimersByTimeAsync(1_500);
  ada.rename("a", "123");
  ada.draft.undo();
  expect(ada.name("a")).toBe("12");
  ada.draft.undo();
  expect(ada.name("a")).toBe("A");
});

test("a refused edit is nothing to undo", async () => {
  bob.draft.edit([{ op: "node.remove", id: "a" }]);
  bob.socket?.letUp();
  ada.rename("a", "First");
  await company.settle();
  expect(ada.refused).toMatchObject([{ error: "gone" }]);
  expect(ada.draft.canUndo).toBe(false);
});

test("typing in one text is one step, and leaves what others typed", async () => {
  ada.type("a", 5, " wor");
  await company.settle();
  ada.type("a", 9, "ld");
  await company.settle();
  bob.type("a", 0, "> ");
  await company.settle();
  expect(ada.text("a")).toBe("> Hello world");
  expect(ada.draft.undo()).toMatchObject({ done: true });
  await company.settle();
  expect(bob.text("a")).toBe("> Hello");
  ada.draft.redo();
  await company.settle();
  expect(bob.text("a")).toBe("> Hello world");
});

test("undo of typing asks when somebody has typed inside of it", async () => {
  ada.type("a", 5, " wonderful");
  await company.settle();
  bob.type("a", 8, "!!");
  await company.settle();
  expect(ada.draft.undo()).toMatchObject({ done: false, asked: [{ seq: 3 }] });
});

test("steps of typing below other steps take what others type into account", async () => {
  ada.type("a", 5, " one");
  ada.rename("a", "First");
  ada.type("a", 9, " two");
  await company.settle();
  bob.type("a", 0, "> ");
  await company.settle();
  for (const expected of ["> Hello one", "> Hello one", "> Hello"]) {
    ada.draft.undo();
    await company.settle();
    expect(bob.text("a")).toBe(expected);
  }
  expect(bob.name("a")).toBe("A");
});

test("a text that was set before one typed in it is undone in order", async () => {
  ada.draft.edit([{ op: "node.set", id: "a", path: PROMPT, value: "New" }]);
  ada.type("a", 3, "er");
  ada.draft.undo();
  expect(ada.text("a")).toBe("New");
  ada.draft.undo();
  expect(ada.text("a")).toBe("Hello");
});
