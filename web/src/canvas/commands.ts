import { tell } from "../ui/notify";
import type { Editor } from "./editor";
import { savedText } from "./saved";
import type { Command } from "./shortcuts";

/** What each command does. Those that change something do nothing for somebody who may only look. */
export const commands: Record<Command, (editor: Editor) => void> = {
  palette: (editor) => editor.mayEdit && editor.dialog.set({ kind: "palette", end: editor.looseEnd() }),
  commands: (editor) => editor.dialog.set({ kind: "commands" }),
  open: (editor) => editor.open(),
  rename: (editor) => editor.mayEdit && editor.renaming.set(editor.selected[0] ?? null),
  connect: (editor) => {
    const [from] = editor.selected;
    if (editor.mayEdit && from !== undefined) editor.dialog.set({ kind: "connect", from });
  },
  disable: (editor) => editor.toggle(),
  duplicate: (editor) => editor.duplicate(),
  delete: (editor) => editor.remove(),
  selectAll: (editor) => editor.graph.selectAll(),
  clear: (editor) => (editor.opened.get() ? editor.close() : editor.graph.select([])),
  undo: (editor) => editor.step("undo"),
  redo: (editor) => editor.step("redo"),
  layout: (editor) => void editor.arrange(),
  fit: (editor) => editor.viewport?.fit(),
  zoomIn: (editor) => editor.viewport?.zoom("in"),
  zoomOut: (editor) => editor.viewport?.zoom("out"),
  execute: (editor) => editor.execute(),
  save: (editor) => tell(savedText(editor.draft.snapshot())),
  help: (editor) => editor.dialog.set({ kind: "help" }),
};
