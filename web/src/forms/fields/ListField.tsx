import { ActionIcon, Box, Button, Card, Group, Input, Stack, Tooltip } from "@mantine/core";
import { IconArrowUp, IconPlus, IconX } from "@tabler/icons-react";
import { type FieldProps, useForm } from "../FormContext";
import { emptyValue, kindOf, resolve } from "../schema";
import { useInputProps } from "./controls";
import { Field } from "./Field";
import { ObjectFields } from "./ObjectFields";

/** A list: its entries one below the other, each of which can go or move up. */
export function ListField(field: FieldProps) {
  const { disabled, ...wrapper } = useInputProps(field);
  const { root } = useForm();
  const { path, schema, label, onChange } = field;
  const entries: unknown[] = Array.isArray(field.value) ? field.value : [];
  const resolved = resolve(schema.items ?? {}, root);
  const isObject = kindOf(resolved.schema) === "object";
  const entry = (value: unknown, index: number) =>
    isObject ? (
      <ObjectFields schema={resolved.schema} path={[...path, index]} value={value} />
    ) : (
      <Field
        {...resolved}
        path={[...path, index]}
        label={`${label} ${index + 1}`}
        isEntry
        required={false}
        value={value}
      />
    );
  return (
    <Input.Wrapper {...wrapper} labelElement="div">
      <Stack gap="xs" mt={6}>
        {entries.map((value, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: entries have no identity but their place
          <Entry key={index} boxed={isObject}>
            <Box flex={1}>{entry(value, index)}</Box>
            {!disabled && (
              <Group gap={2} wrap="nowrap" mt={4}>
                {index > 0 && (
                  <IconAction
                    label={`Move entry ${index + 1} of ${label} up`}
                    onClick={() => onChange(movedUp(entries, index))}
                  >
                    <IconArrowUp size={16} />
                  </IconAction>
                )}
                <IconAction
                  label={`Remove entry ${index + 1} of ${label}`}
                  onClick={() => onChange(entries.filter((_, place) => place !== index))}
                >
                  <IconX size={16} />
                </IconAction>
              </Group>
            )}
          </Entry>
        ))}
        {!disabled && entries.length < (schema.maxItems ?? Number.POSITIVE_INFINITY) && (
          <Button
            variant="light"
            size="compact-sm"
            leftSection={<IconPlus size={14} />}
            style={{ alignSelf: "flex-start" }}
            aria-label={`Add to ${label}`}
            onClick={() => onChange([...entries, emptyValue(resolved.schema)])}
          >
            Add
          </Button>
        )}
      </Stack>
    </Input.Wrapper>
  );
}

function Entry({ boxed, children }: { boxed: boolean; children: React.ReactNode }) {
  const row = (
    <Group align="flex-start" gap="xs" wrap="nowrap">
      {children}
    </Group>
  );
  return boxed ? (
    <Card withBorder padding="sm">
      {row}
    </Card>
  ) : (
    row
  );
}

export function IconAction({
  label,
  onClick,
  children,
}: {
  label: string;
  onClick: () => void;
  children: React.ReactNode;
}) {
  return (
    <Tooltip label={label} openDelay={400}>
      <ActionIcon variant="subtle" color="gray" aria-label={label} onClick={onClick}>
        {children}
      </ActionIcon>
    </Tooltip>
  );
}

function movedUp(entries: unknown[], index: number): unknown[] {
  const moved = [...entries];
  moved.splice(index - 1, 2, entries[index], entries[index - 1]);
  return moved;
}
