import { acceptCompletion, autocompletion, type CompletionContext, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { Annotation, EditorState, type Extension } from "@codemirror/state";
import {
  Decoration,
  type DecorationSet,
  EditorView,
  keymap,
  MatchDecorator,
  placeholder as placeholderText,
  ViewPlugin,
  type ViewUpdate,
} from "@codemirror/view";
import { useEffect, useRef } from "react";
import { nonce } from "../app/nonce";
import classes from "./CodeEditor.module.css";
import { type Data, proposalsAt } from "./completions";
import { editorTheme } from "./editorTheme";

interface Props {
  label: string;
  value: string;
  /** Left out for a text that is bound to a shared field: that takes the changes. */
  onChange?: (text: string) => void;
  /** What binds the editor to a shared field. It does not change as long as the editor is there. */
  shared?: Extension;
  /** What completions are found in. */
  data: Data;
  /** Whether expressions stand in braces within a text, or the text is one. */
  isTemplate: boolean;
  placeholder?: string;
  invalid?: boolean;
  readOnly?: boolean;
  autoFocus?: boolean;
  /** Lines that are there from the beginning. */
  lines?: number;
}

const FROM_OUTSIDE = Annotation.define<boolean>();

/** A text with expressions: completion over real data, and what stands in braces is marked. */
export function CodeEditor(props: Props) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const { value, readOnly, isTemplate, shared, label, placeholder, invalid, lines = 1 } = props;

  // biome-ignore lint/correctness/useExhaustiveDependencies: what changes while it is there is read by `latest` or below
  useEffect(() => {
    if (!place.current) return;
    const made = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: latest.current.value,
        extensions: [
          EditorView.cspNonce.of(nonce()),
          history(),
          autocompletion({
            override: [(context) => propose(context, latest.current)],
            icons: false,
            activateOnTyping: true,
          }),
          keymap.of([{ key: "Tab", run: acceptCompletion }, ...completionKeymap, ...defaultKeymap, ...historyKeymap]),
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ "aria-label": label, "aria-multiline": "true" }),
          EditorState.readOnly.of(readOnly ?? false),
          EditorView.editable.of(!readOnly),
          placeholder ? placeholderText(placeholder) : [],
          isTemplate ? braces : [],
          editorTheme,
          shared ?? EditorView.updateListener.of((update) => told(update, latest.current.onChange)),
        ],
      }),
    });
    view.current = made;
    if (latest.current.autoFocus) {
      made.focus();
      made.dispatch({ selection: { anchor: made.state.doc.length } });
    }
    return () => made.destroy();
  }, [shared, readOnly, isTemplate, label]);

  useEffect(() => {
    const now = view.current;
    if (!now || shared || now.state.doc.toString() === value) return;
    now.dispatch({
      changes: { from: 0, to: now.state.doc.length, insert: value },
      annotations: FROM_OUTSIDE.of(true),
    });
  }, [value, shared]);

  return (
    <div
      ref={place}
      className={classes.editor}
      data-invalid={invalid || undefined}
      data-lines={lines > 1 ? "many" : undefined}
    />
  );
}

function told(update: ViewUpdate, onChange: Props["onChange"]): void {
  const own = update.transactions.some((each) => each.docChanged && !each.annotation(FROM_OUTSIDE));
  if (own) onChange?.(update.state.doc.toString());
}

function propose(context: CompletionContext, { data, isTemplate }: Props) {
  const found = proposalsAt(context.state.doc.toString(), context.pos, data, isTemplate);
  if (!found || found.options.length === 0) return null;
  const options = found.options.map(({ label, detail, apply }, index) => ({ label, detail, apply, boost: -index }));
  return { from: found.from, options, validFor: /^\w*$/ };
}

const marker = new MatchDecorator({ regexp: /\{\{[\s\S]*?\}\}/g, decoration: Decoration.mark({ class: "cm-braces" }) });

const braces = ViewPlugin.fromClass(
  class {
    marks: DecorationSet;
    constructor(view: EditorView) {
      this.marks = marker.createDeco(view);
    }
    update(update: ViewUpdate) {
      this.marks = marker.updateDeco(update, this.marks);
    }
  },
  { decorations: ({ marks }) => marks },
);
