import { Input } from "@mantine/core";
import { useMemo } from "react";
import { useEditor } from "../canvas/editor";
import { extension } from "../collab/codemirror";
import type { FieldProps } from "../forms/FormContext";
import { CodeEditor } from "./CodeEditor";
import { useShownNode } from "./NodeContext";
import { Preview } from "./Preview";
import { useWrapper } from "./useWrapper";

const LINES = 3;

/** A long text that several people type in at the same time, each seeing the other's cursor. */
export function SharedText(field: FieldProps) {
  const { disabled, wrapper } = useWrapper(field);
  const { draft } = useEditor();
  const { id, data } = useShownNode();
  const place = JSON.stringify(field.path);
  const text = useMemo(() => draft.text(id, ["config", ...JSON.parse(place)]), [draft, id, place]);
  const shared = useMemo(() => extension(text, draft), [text, draft]);
  const value = typeof field.value === "string" ? field.value : "";
  const fallback = field.schema.default;
  return (
    <Input.Wrapper {...wrapper}>
      <CodeEditor
        label={field.label}
        value={text.value}
        shared={shared}
        data={data}
        isTemplate
        lines={field.schema["x-widget"] ? LINES : 1}
        placeholder={typeof fallback === "string" && fallback ? fallback : undefined}
        invalid={field.problem !== undefined}
        readOnly={disabled}
      />
      {value.includes("{{") && <Preview text={value} isTemplate />}
    </Input.Wrapper>
  );
}
