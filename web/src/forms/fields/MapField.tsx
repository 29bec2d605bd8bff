import { Button, Group, Input, Stack, TextInput } from "@mantine/core";
import { IconPlus, IconX } from "@tabler/icons-react";
import { useState } from "react";
import { type FieldProps, useForm } from "../FormContext";
import { isObject } from "../paths";
import { resolve } from "../schema";
import { useInputProps } from "./controls";
import { Field } from "./Field";
import { IconAction } from "./ListField";

/** Names and values. A name is changed when it is left, so that half a name never replaces another entry. */
export function MapField(field: FieldProps) {
  const { disabled, ...wrapper } = useInputProps(field);
  const { root } = useForm();
  const { path, schema, label, onChange } = field;
  const entries = Object.entries(isObject(field.value) ? field.value : {});
  const ofValues = typeof schema.additionalProperties === "object" ? schema.additionalProperties : {};
  const resolved = resolve(Object.keys(ofValues).length > 0 ? ofValues : { type: "string" }, root);
  const rename = (from: string, to: string) =>
    onChange(Object.fromEntries(entries.map(([name, value]) => [name === from ? to : name, value])));
  return (
    <Input.Wrapper {...wrapper} labelElement="div">
      <Stack gap="xs" mt={6}>
        {entries.map(([name, value]) => (
          <Group key={name} align="flex-start" gap="xs" wrap="nowrap">
            <NameInput
              name={name}
              label={`Name in ${label}`}
              taken={entries.map(([other]) => other)}
              disabled={disabled}
              onRename={(to) => rename(name, to)}
            />
            <div style={{ flex: 2 }}>
              <Field
                {...resolved}
                path={[...path, name]}
                label={`Value of ${name}`}
                isEntry
                required={false}
                value={value}
              />
            </div>
            {!disabled && (
              <IconAction
                label={`Remove ${name || "the entry"} from ${label}`}
                onClick={() => onChange(Object.fromEntries(entries.filter(([other]) => other !== name)))}
              >
                <IconX size={16} />
              </IconAction>
            )}
          </Group>
        ))}
        {!disabled && (
          <Button
            variant="light"
            size="compact-sm"
            leftSection={<IconPlus size={14} />}
            style={{ alignSelf: "flex-start" }}
            disabled={entries.some(([name]) => name === "")}
            aria-label={`Add to ${label}`}
            onClick={() => onChange({ ...Object.fromEntries(entries), "": "" })}
          >
            Add
          </Button>
        )}
      </Stack>
    </Input.Wrapper>
  );
}

interface NameProps {
  name: string;
  label: string;
  taken: string[];
  disabled: boolean;
  onRename: (to: string) => void;
}

function NameInput({ name, label, taken, disabled, onRename }: NameProps) {
  const [typed, setTyped] = useState(name);
  const clash = typed !== name && taken.includes(typed);
  return (
    <TextInput
      flex={1}
      aria-label={label}
      placeholder="Name"
      disabled={disabled}
      error={clash ? "There is one already" : undefined}
      value={typed}
      onChange={(event) => setTyped(event.currentTarget.value)}
      onBlur={() => typed !== name && !clash && onRename(typed)}
    />
  );
}
