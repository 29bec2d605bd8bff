import { ActionIcon, Tooltip } from "@mantine/core";
import { IconBraces, IconLetterT } from "@tabler/icons-react";
import type { FieldProps } from "../forms/FormContext";
import { AnyField } from "../forms/fields/AnyField";
import type { Schema } from "../forms/schema";
import { useShownNode } from "./NodeContext";
import classes from "./panel.module.css";
import { SharedText } from "./SharedText";

/** Whether a field that takes any value holds a text, or is made for one: then it is edited as a text. */
export function isWritten(schema: Schema, value: unknown): boolean {
  return schema["x-widget"] === "template" && (value === undefined || value === null || typeof value === "string");
}

/** A field for any value: as a text that several people write in, or as JSON. */
export function TextOrJson(field: FieldProps) {
  const { mayEdit } = useShownNode();
  const { schema, value, label, onChange } = field;
  if (schema["x-widget"] !== "template") return <AnyField {...field} />;
  const written = isWritten(schema, value);
  const title = written ? "Write it as JSON" : "Write it as text";
  return (
    <>
      {mayEdit && (
        <Tooltip label={title}>
          <ActionIcon
            className={classes.mode}
            size="sm"
            aria-label={`${label}: ${title.toLowerCase()}`}
            onClick={() => onChange(written ? asJson(value) : JSON.stringify(value, null, 2))}
          >
            {written ? <IconBraces size={15} /> : <IconLetterT size={15} />}
          </ActionIcon>
        </Tooltip>
      )}
      {written ? <SharedText {...field} /> : <AnyField {...field} />}
    </>
  );
}

/** The value that a text writes; an object around a text that writes none. */
export function asJson(text: unknown): unknown {
  try {
    const value: unknown = JSON.parse(String(text ?? ""));
    if (typeof value !== "string") return value;
  } catch {}
  return text ? { text } : {};
}
