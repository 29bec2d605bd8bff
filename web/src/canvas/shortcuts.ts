/** What can be done on the canvas, by which keys. `Mod` is Ctrl, or Cmd on a Mac. */
export const COMMANDS = {
  palette: { title: "Add a node", keys: ["Tab", "+"] },
  commands: { title: "All commands and nodes", keys: ["Mod+k"] },
  open: { title: "Open the node", keys: ["Enter"] },
  rename: { title: "Rename the node", keys: ["F2"] },
  connect: { title: "Connect the node to another", keys: ["c"] },
  disable: { title: "Disable or enable", keys: ["d"] },
  duplicate: { title: "Duplicate", keys: ["Mod+d"] },
  delete: { title: "Delete", keys: ["Delete", "Backspace"] },
  selectAll: { title: "Select everything", keys: ["Mod+a"] },
  clear: { title: "Select nothing", keys: ["Escape"] },
  undo: { title: "Undo", keys: ["Mod+z"] },
  redo: { title: "Redo", keys: ["Mod+Shift+z", "Mod+y"] },
  layout: { title: "Arrange the nodes", keys: ["l"] },
  fit: { title: "Zoom to fit", keys: ["1"] },
  zoomIn: { title: "Zoom in", keys: ["PageUp"] },
  zoomOut: { title: "Zoom out", keys: ["PageDown"] },
  execute: { title: "Run the draft", keys: ["Mod+Enter"] },
  save: { title: "Is it saved?", keys: ["Mod+s"] },
  help: { title: "Keyboard shortcuts", keys: ["?"] },
} as const satisfies Record<string, { title: string; keys: readonly string[] }>;

export type Command = keyof typeof COMMANDS;

/** Done by the browser's own events or by keys that are no commands; told by the help. */
export const MORE_KEYS = [
  { title: "Go to the next node", keys: ["Arrow keys"] },
  { title: "Move the selected nodes", keys: ["Shift+Arrow keys"] },
  { title: "Copy, cut, paste", keys: ["Mod+c", "Mod+x", "Mod+v"] },
  { title: "Select several", keys: ["Shift+drag", "Mod+click"] },
  { title: "Leave the canvas", keys: ["Shift+Tab"] },
] as const;

export interface Pressed {
  readonly key: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly shiftKey: boolean;
  readonly altKey: boolean;
}

const BY_KEY = new Map<string, Command>(
  Object.entries(COMMANDS).flatMap(([name, { keys }]) => keys.map((key): [string, Command] => [key, name as Command])),
);

/** The command of a key, if it has one. */
export function commandOf(pressed: Pressed): Command | undefined {
  if (pressed.altKey) return undefined;
  const { key, ctrlKey, metaKey, shiftKey } = pressed;
  const name = key.length === 1 ? key.toLowerCase() : key;
  const isLetter = /^[a-z]$/.test(name);
  const shift = shiftKey && (isLetter || name.length > 1) ? "Shift+" : "";
  return BY_KEY.get(`${ctrlKey || metaKey ? "Mod+" : ""}${shift}${name}`);
}

/** Keys that do their own thing where one types. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || target.matches("input, textarea, select, [role=textbox], [role=combobox]");
}

const SYMBOLS: Record<string, string> = { Shift: "⇧", Delete: "Del", Escape: "Esc" };

/** A key as people read it. */
export function keyLabel(key: string, mac = isMac()): string[] {
  const parts = key === "+" ? ["+"] : key.split("+");
  return parts.map((part) => {
    if (part === "Mod") return mac ? "⌘" : "Ctrl";
    return SYMBOLS[part] ?? (part.length === 1 ? part.toUpperCase() : part);
  });
}

function isMac(): boolean {
  return /Mac|iPhone|iPad/.test(globalThis.navigator?.userAgent ?? "");
}
