// A CodeMirror editor bound to a text that others type in too.

import { history, redo, undo } from "@codemirror/commands";
import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { extension } from "../codemirror.ts";
import { Company, PROMPT, type Someone, THREE_NODES } from "./company.ts";

let company: Company;
let ada: Someone;
let bob: Someone;
const views: EditorView[] = [];

beforeEach(async () => {
  vi.useFakeTimers();
  company = new Company(THREE_NODES);
  ada = await company.join("ada");
  bob = await company.join("bob");
});

afterEach(async () => {
  for (const view of views.splice(0)) view.destroy();
  await company.leave();
  vi.useRealTimers();
});

function editor(someone: Someone): EditorView {
  const field = someone.draft.text("a", PROMPT);
  const extensions = [history(), extension(field, someone.draft)];
  const view = new EditorView({ state: EditorState.create({ doc: field.value, extensions }), parent: document.body });
  views.push(view);
  return view;
}

function typed(view: EditorView, at: number, insert: string): void {
  view.dispatch({ changes: { from: at, insert }, selection: { anchor: at + insert.length }, userEvent: "input.type" });
}

const doc = (view: EditorView) => view.state.doc.toString();

test("what one types goes out, what others type comes in, and the cursor stays where it was", async () => {
  const [hers, his] = [editor(ada), editor(bob)];
  typed(hers, 5, " world");
  expect(ada.text("a")).toBe("Hello world");
  typed(his, 0, "> ");
  await company.settle();
  expect([doc(hers), doc(his)]).toEqual(["> Hello world", "> Hello world"]);
  expect(hers.state.selection.main.head).toBe(13);
  expect(his.state.selection.main.head).toBe(2);
});

test("undo inside the editor takes back one's own typing only, for everybody", async () => {
  const [hers, his] = [editor(ada), editor(bob)];
  typed(hers, 5, " world");
  await company.settle();
  typed(his, 0, "> ");
  await company.settle();
  undo(hers);
  await company.settle();
  expect([doc(hers), doc(his)]).toEqual(["> Hello", "> Hello"]);
  redo(hers);
  await company.settle();
  expect(doc(his)).toBe("> Hello world");
});

test("undo on the canvas takes back a whole session of typing, in the editor too", async () => {
  const hers = editor(ada);
  typed(hers, 5, " wor");
  typed(hers, 9, "ld");
  await company.settle();
  ada.draft.undo();
  expect(doc(hers)).toBe("Hello");
});

test("two editors on one text of one person hold the same", () => {
  const [left, right] = [editor(ada), editor(ada)];
  typed(left, 5, "!");
  typed(right, 6, "?");
  expect([doc(left), doc(right), ada.text("a")]).toEqual(["Hello!?", "Hello!?", "Hello!?"]);
});

test("an editor that was made from an older text is brought up to date", async () => {
  const field = ada.draft.text("a", PROMPT);
  const view = new EditorView({ state: EditorState.create({ doc: "older", extensions: extension(field) }) });
  views.push(view);
  await company.settle();
  expect(doc(view)).toBe("Hello");
});

test("typing that is refused at once does not stay in the editor", async () => {
  const hers = editor(ada);
  ada.socket?.cut(4403, "No.");
  typed(hers, 5, "!");
  await company.settle();
  expect(doc(hers)).toBe("Hello");
});

test("a carriage return is a character of its own, so positions are those of the server", async () => {
  company.server.rest([{ op: "node.set", id: "a", path: PROMPT, value: "one\r\ntwo" }]);
  await company.settle();
  const hers = editor(ada);
  expect(hers.state.doc.length).toBe(8);
  typed(hers, 8, "!");
  await company.settle();
  expect(bob.text("a")).toBe("one\r\ntwo!");
});

test("others are told where one's cursor is, and that one has left", async () => {
  const hers = editor(ada);
  vi.spyOn(hers, "hasFocus", "get").mockReturnValue(true);
  typed(hers, 5, "!");
  await company.settle();
  const seen = () => [...bob.draft.snapshot().peers.values()].map((peer) => peer.state.field);
  expect(seen()).toEqual([{ id: "a", path: PROMPT, anchor: 6, head: 6 }]);
  views.splice(views.indexOf(hers), 1);
  hers.destroy();
  await company.settle();
  expect(seen()).toEqual([undefined]);
});
