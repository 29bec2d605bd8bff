import { Textarea } from "@mantine/core";
import { useState } from "react";
import type { FieldProps } from "../FormContext";
import { useInputProps } from "./controls";

export const MONOSPACE = { input: { fontFamily: "var(--mantine-font-family-monospace)" } };

/** Any value, written as JSON. Text with an expression in it is text. What is no JSON yet stays here and is told. */
export function AnyField(field: FieldProps) {
  const props = useInputProps(field);
  const [draft, setDraft] = useState<string | null>(null);
  const { value, onChange } = field;
  const change = (text: string) => {
    const read = parse(text);
    setDraft(text);
    if (read.good) onChange(read.value);
  };
  const unread = draft !== null && !parse(draft).good;
  return (
    <Textarea
      {...props}
      error={unread ? "This is not JSON yet; the last good value is kept" : props.error}
      autosize
      minRows={1}
      maxRows={20}
      styles={MONOSPACE}
      spellCheck={false}
      value={draft ?? written(value)}
      onChange={(event) => change(event.currentTarget.value)}
      onBlur={() => !unread && setDraft(null)}
    />
  );
}

function written(value: unknown): string {
  if (value === undefined) return "";
  return isTemplate(value) ? value : JSON.stringify(value, null, 2);
}

function isTemplate(value: unknown): value is string {
  return typeof value === "string" && value.includes("{{");
}

function parse(text: string): { good: boolean; value?: unknown } {
  if (text.trim() === "") return { good: true };
  try {
    return { good: true, value: JSON.parse(text) };
  } catch {
    return isTemplate(text) ? { good: true, value: text } : { good: false };
  }
}
