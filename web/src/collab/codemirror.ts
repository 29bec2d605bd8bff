// A CodeMirror editor on a text that others type in too: one's own changes go out, those of others come in, and their
// cursors and selections are shown. Undo inside the editor is CodeMirror's own history, which leaves others' changes
// alone; see README.md.

import { type ChangeSet, EditorSelection, EditorState, type Extension, Transaction } from "@codemirror/state";
import { EditorView, type LayerMarker, layer, RectangleMarker, ViewPlugin, type ViewUpdate } from "@codemirror/view";
import type { Draft } from "./draft.ts";
import type { TextField } from "./field.ts";
import { keyText } from "./fields.ts";
import type { Peer } from "./frames.ts";
import type { Path } from "./paths.ts";
import { difference } from "./text.ts";

/** What a peer shows in its presence, as `field`, of a text it is in: the place, and its selection there. */
export type FieldPresence = {
  readonly id: string;
  readonly path: Path;
  readonly anchor: number;
  readonly head: number;
};

/**
 * Bind an editor to a field. Create the editor with `doc: field.value`. With a draft, one's own selection is told to
 * others, and theirs are drawn.
 */
export function extension(field: TextField, draft?: Draft): Extension {
  // A line ends with "\n" only: else positions would count differently here than on the server.
  const lines = [EditorState.lineSeparator.of("\n"), EditorView.clipboardInputFilter.of(withPlainLineEnds)];
  const bound: Extension[] = [...lines, binding(field)];
  if (draft !== undefined) bound.push(ownSelection(field, draft), cursors(field, draft), cursorTheme);
  return bound;
}

function withPlainLineEnds(text: string): string {
  return text.replace(/\r\n?/g, "\n");
}

function binding(field: TextField): Extension {
  return ViewPlugin.define((view) => {
    const origin = {};
    /** Show what the field holds, whatever the editor has made of it. Not while CodeMirror is updating. */
    const align = () => take(view, difference(view.state.sliceDoc(), field.value));
    const stop = field.subscribe(({ changes, origin: typedIn }) => {
      if (typedIn === origin) return;
      if (changes.length === view.state.doc.length) take(view, changes);
      else align();
    });
    if (view.state.sliceDoc() !== field.value) queueMicrotask(align);
    return {
      update(update: ViewUpdate) {
        for (const transaction of update.transactions) {
          if (!transaction.docChanged || transaction.annotation(Transaction.remote)) continue;
          if (!field.edit(transaction.changes, origin)) queueMicrotask(align);
        }
      },
      destroy: stop,
    };
  });
}

function take(view: EditorView, changes: ChangeSet): void {
  if (changes.empty) return;
  const annotations = [Transaction.remote.of(true), Transaction.addToHistory.of(false)];
  view.dispatch({ changes, annotations });
}

function ownSelection(field: TextField, draft: Draft): Extension {
  const tell = (view: EditorView) => {
    const { anchor, head } = view.state.selection.main;
    draft.setPresence({ field: view.hasFocus ? { id: field.id, path: field.path, anchor, head } : null });
  };
  return ViewPlugin.define((view) => ({
    update(update: ViewUpdate) {
      if (update.selectionSet || update.focusChanged || update.docChanged) tell(view);
    },
    destroy: () => draft.setPresence({ field: null }),
  }));
}

/** Cursors and selections as layers: their colours are set from script, which the page's style policy allows. */
function cursors(field: TextField, draft: Draft): Extension {
  const redraw = ViewPlugin.define((view) => {
    let shown = draft.snapshot().peers;
    const stop = draft.subscribe(() => {
      const { peers } = draft.snapshot();
      if (peers === shown) return;
      shown = peers;
      view.dispatch({});
    });
    return { destroy: stop };
  });
  const update = ({ docChanged, geometryChanged, transactions }: ViewUpdate) =>
    docChanged || geometryChanged || transactions.length > 0;
  const markers = (view: EditorView, cursor: boolean) =>
    inField(field, draft.snapshot().peers).flatMap(([peer, place]) => marked(view, peer, place, cursor));
  return [
    redraw,
    layer({ above: false, class: "cm-peer-selections", update, markers: (view) => markers(view, false) }),
    layer({ above: true, class: "cm-peer-cursors", update, markers: (view) => markers(view, true) }),
  ];
}

function inField(field: TextField, peers: ReadonlyMap<string, Peer>): [Peer, FieldPresence][] {
  return [...peers.values()].flatMap((peer): [Peer, FieldPresence][] => {
    const place = peer.state.field as FieldPresence | undefined;
    const known = typeof place?.anchor === "number" && typeof place.head === "number" && Array.isArray(place.path);
    return known && keyText(place) === keyText(field) ? [[peer, place]] : [];
  });
}

function marked(view: EditorView, peer: Peer, place: FieldPresence, cursor: boolean): PeerMarker[] {
  const within = (at: number) => Math.max(0, Math.min(view.state.doc.length, Math.trunc(at)));
  const anchor = cursor ? within(place.head) : within(place.anchor);
  if (!cursor && anchor === within(place.head)) return [];
  const range = EditorSelection.range(anchor, within(place.head));
  const className = cursor ? "cm-peer-cursor" : "cm-peer-selection";
  const drawn = RectangleMarker.forRange(view, className, cursor ? EditorSelection.cursor(range.head) : range);
  const { clientWidth } = view.scrollDOM;
  return drawn.map((rectangle) => new PeerMarker(rectangle, peer.color, cursor ? peer.name : "", clientWidth));
}

/** What an editor cuts off: a name above its first line, and one that is written beyond its right end. */
const NAME_HEIGHT = 16;
const LONGEST_NAME = 120;

class PeerMarker implements LayerMarker {
  constructor(
    readonly rectangle: RectangleMarker,
    readonly color: string,
    readonly name: string,
    readonly width: number,
  ) {}

  eq(other: PeerMarker): boolean {
    const { color, name, width } = other;
    return this.rectangle.eq(other.rectangle) && this.color === color && this.name === name && this.width === width;
  }

  draw(): HTMLElement {
    const element = this.rectangle.draw();
    element.style.setProperty("--peer-color", this.color);
    if (this.name !== "") element.dataset.name = this.name;
    element.dataset.side = this.rectangle.left + LONGEST_NAME > this.width ? "left" : "right";
    element.dataset.row = this.rectangle.top < NAME_HEIGHT ? "below" : "above";
    return element;
  }
}

const cursorTheme = EditorView.baseTheme({
  ".cm-peer-selection": { backgroundColor: "var(--peer-color)", opacity: "0.25" },
  ".cm-peer-cursor": { borderLeft: "2px solid var(--peer-color)", marginLeft: "-1px" },
  ".cm-peer-cursor::after": {
    content: "attr(data-name)",
    position: "absolute",
    padding: "0 4px",
    fontSize: "11px",
    lineHeight: "15px",
    whiteSpace: "nowrap",
    color: "white",
    backgroundColor: "var(--peer-color)",
    borderRadius: "3px",
  },
  ".cm-peer-cursor[data-row=above]::after": { bottom: "100%" },
  ".cm-peer-cursor[data-row=below]::after": { top: "100%" },
  ".cm-peer-cursor[data-side=right]::after": { left: "-2px" },
  ".cm-peer-cursor[data-side=left]::after": { right: "0" },
});
