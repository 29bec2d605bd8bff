import { EditorView } from "@codemirror/view";

/** As all fields look; the frame around it is CodeEditor.module.css. */
export const editorTheme = EditorView.theme({
  "&": { fontSize: "13px", color: "var(--mantine-color-text)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mantine-font-family-monospace)", lineHeight: "1.5" },
  ".cm-content": { padding: "7px 0", caretColor: "var(--mantine-color-text)" },
  ".cm-line": { padding: "0 10px" },
  ".cm-cursor": { borderLeftColor: "var(--mantine-color-text)" },
  ".cm-placeholder": { color: "var(--mantine-color-dimmed)" },
  ".cm-braces": {
    borderRadius: "4px",
    color: "light-dark(#4c4bc0, #b9baf6)",
    backgroundColor: "light-dark(#efeffc, #2a2b40)",
  },
  ".cm-tooltip": {
    overflow: "hidden",
    border: "1px solid var(--app-border)",
    borderRadius: "8px",
    backgroundColor: "var(--mantine-color-body)",
    boxShadow: "var(--mantine-shadow-md)",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": {
    maxHeight: "240px",
    fontFamily: "var(--mantine-font-family-monospace)",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "4px 10px" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": {
    color: "var(--mantine-color-text)",
    backgroundColor: "light-dark(#ececfb, #30314a)",
  },
  ".cm-completionDetail": { marginLeft: "12px", fontStyle: "normal", color: "var(--mantine-color-dimmed)" },
  ".cm-completionMatchedText": { textDecoration: "none", fontWeight: "700" },
});
