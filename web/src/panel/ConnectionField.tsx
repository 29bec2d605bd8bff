import { Button, Group, Select } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "../api/client";
import { ConnectionDrawer } from "../connections/ConnectionDrawer";
import type { FieldProps } from "../forms/FormContext";
import { useInputProps } from "../forms/fields/controls";

/** Chooses one of the connections of the types that fit, or makes one. */
export function ConnectionField(field: FieldProps) {
  const props = useInputProps(field);
  const [making, setMaking] = useState(false);
  const types = field.schema["x-credential"] ?? [];
  const found = useQuery({
    queryKey: ["connections", "to choose from"],
    queryFn: () => body(api.GET("/api/credentials", { params: { query: { limit: 100 } } })),
  });
  const fitting = found.data?.credentials.filter(({ credential_type }) => types.includes(credential_type)) ?? [];
  const chosen = typeof field.value === "string" ? field.value : null;
  const options = fitting.map(({ id, name }) => ({ value: id, label: name }));
  const known = chosen === null || options.some(({ value }) => value === chosen);
  return (
    <>
      <Group gap="xs" align="flex-end" wrap="nowrap">
        <Select
          {...props}
          flex={1}
          placeholder={fitting.length > 0 ? "None" : "There is none that fits"}
          data={known ? options : [...options, { value: chosen, label: "A connection that is not here any more" }]}
          value={chosen}
          clearable
          searchable={fitting.length > 6}
          onChange={(id) => field.onChange(id ?? undefined)}
        />
        {!props.disabled && (
          <Button variant="default" leftSection={<IconPlus size={15} />} onClick={() => setMaking(true)}>
            New
          </Button>
        )}
      </Group>
      {making && (
        <ConnectionDrawer types={types} onClose={() => setMaking(false)} onSaved={({ id }) => field.onChange(id)} />
      )}
    </>
  );
}
