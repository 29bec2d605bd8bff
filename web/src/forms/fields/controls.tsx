import { NumberInput, PasswordInput, Select, Switch, Textarea, TextInput } from "@mantine/core";
import type { ReactNode } from "react";
import { type FieldProps, useForm } from "../FormContext";
import type { Schema } from "../schema";

/** What all controls say in the same way. */
export function useInputProps({ label, isEntry, schema, required, problem }: FieldProps) {
  const { readOnly } = useForm();
  const shared = { description: described(schema), withAsterisk: required, error: problem, disabled: readOnly };
  return isEntry ? { ...shared, "aria-label": label } : { ...shared, label };
}

function described({ description }: Schema): ReactNode {
  return description ? withCode(description) : undefined;
}

/** Descriptions mark code by backticks. */
function withCode(text: string): ReactNode {
  return text.split("`").map((part, index) =>
    // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a text never change places
    index % 2 ? <code key={index}>{part}</code> : part,
  );
}

/** Nothing entered takes the value away; but where the default is a text, an empty text says something else. */
function entered(text: string, schema: Schema): string | undefined {
  return text === "" && !schema.default ? undefined : text;
}

export function TextField(field: FieldProps) {
  const props = useInputProps(field);
  const { schema, kind, onChange } = field;
  const shared = {
    ...props,
    value: String(field.value ?? schema.default ?? ""),
    maxLength: schema.maxLength,
    onChange: (event: { currentTarget: { value: string } }) => onChange(entered(event.currentTarget.value, schema)),
  };
  if (kind !== "long-text") return <TextInput {...shared} />;
  return <Textarea autosize minRows={schema["x-widget"] === "template" ? 3 : 1} maxRows={16} {...shared} />;
}

export function NumberField(field: FieldProps) {
  const props = useInputProps(field);
  const { schema, kind, value, onChange } = field;
  return (
    <NumberInput
      {...props}
      value={typeof value === "number" ? value : ""}
      placeholder={typeof schema.default === "number" ? String(schema.default) : undefined}
      allowDecimal={kind === "number"}
      min={schema.minimum ?? schema.exclusiveMinimum}
      max={schema.maximum ?? schema.exclusiveMaximum}
      clampBehavior="none"
      onChange={(next) => onChange(typeof next === "number" ? next : undefined)}
    />
  );
}

export function BooleanField(field: FieldProps) {
  const { withAsterisk: _, ...props } = useInputProps(field);
  const checked = Boolean(field.value ?? field.schema.default);
  return <Switch {...props} checked={checked} onChange={(event) => field.onChange(event.currentTarget.checked)} />;
}

export function ChoiceField(field: FieldProps) {
  const props = useInputProps(field);
  const choices = field.schema.enum ?? [];
  const chosen = field.value ?? field.schema.default;
  return (
    <Select
      {...props}
      data={choices.map((choice) => ({ value: JSON.stringify(choice), label: String(choice).replaceAll("_", " ") }))}
      value={chosen === undefined ? null : JSON.stringify(chosen)}
      allowDeselect={field.nullable}
      searchable={choices.length > 8}
      onChange={(choice) => field.onChange(choice === null ? undefined : JSON.parse(choice))}
    />
  );
}

const MASK = "•••";

/** A secret that is kept is shown as a mask, as the API gives it; typing replaces it, and the mask sent back keeps it. */
export function SecretField(field: FieldProps) {
  const props = useInputProps(field);
  const kept = field.value === MASK;
  return (
    <PasswordInput
      {...props}
      autoComplete="new-password"
      value={kept ? "" : String(field.value ?? "")}
      placeholder={kept ? `${MASK} kept; type to replace it` : undefined}
      onChange={(event) => field.onChange(event.currentTarget.value || undefined)}
    />
  );
}
