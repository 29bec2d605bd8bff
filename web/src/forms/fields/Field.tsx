import { Fieldset } from "@mantine/core";
import type { ComponentType } from "react";
import { type FieldProps, useForm } from "../FormContext";
import { type Path, pathText } from "../paths";
import { emptyValue, fits, type Kind, kindOf, type Resolved } from "../schema";
import { AnyField } from "./AnyField";
import { BooleanField, ChoiceField, NumberField, SecretField, TextField } from "./controls";
import { ListField } from "./ListField";
import { MapField } from "./MapField";
import { ObjectFields } from "./ObjectFields";

const CONTROLS: Record<Kind, ComponentType<FieldProps>> = {
  choice: ChoiceField,
  boolean: BooleanField,
  integer: NumberField,
  number: NumberField,
  text: TextField,
  "long-text": TextField,
  secret: SecretField,
  connection: TextField,
  workflow: TextField,
  object: ObjectField,
  list: ListField,
  map: MapField,
  any: AnyField,
};

const MANY: ReadonlySet<Kind> = new Set<Kind>(["object", "list", "map"]);

interface Props extends Resolved {
  path: Path;
  label: string;
  isEntry?: boolean;
  required: boolean;
  value: unknown;
}

/** One field of any kind, with what the place that uses the form puts around it. */
export function Field({ path, schema, nullable, label, isEntry = false, required, value }: Props) {
  const { controls, around, problems, change } = useForm();
  const wanted = kindOf(schema);
  const kind = fits(wanted, value) ? wanted : "any";
  const field: FieldProps = {
    path,
    schema,
    kind,
    nullable,
    label,
    isEntry,
    required,
    value,
    problem: problems.get(pathText(path)),
    onChange: (next) => change(path, next === undefined && isEntry ? emptyValue(schema) : next),
  };
  const Control = controls?.[kind] ?? CONTROLS[kind];
  const control = <Control {...field} />;
  return <div data-path={pathText(path)}>{around && !MANY.has(wanted) ? around(field, control) : control}</div>;
}

function ObjectField({ schema, label, path, value }: FieldProps) {
  return (
    <Fieldset legend={label} variant="default">
      <ObjectFields schema={schema} path={path} value={value} />
    </Fieldset>
  );
}
