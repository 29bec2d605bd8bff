import { Select } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "../api/client";

interface Props {
  value: string | null;
  onChange: (id: string | null) => void;
}

/** Chooses one of all workflows; typing searches on the server. */
export function WorkflowSelect({ value, onChange }: Props) {
  const [typed, setTyped] = useState("");
  const [search] = useDebouncedValue(typed, 200);
  const found = useQuery({
    queryKey: ["workflows", "select", search],
    queryFn: () => body(api.GET("/api/workflows", { params: { query: { limit: 50, search } } })),
    placeholderData: (before) => before,
  });
  const chosen = useQuery({
    queryKey: ["workflows", "one", value],
    queryFn: () => body(api.GET("/api/workflows/{id}", { params: { path: { id: value ?? "" } } })),
    enabled: value !== null && !found.data?.workflows.some(({ id }) => id === value),
  });
  const shown = [...(found.data?.workflows ?? []), ...(value && chosen.data ? [chosen.data] : [])];
  const names = new Map(shown.map(({ id, name }) => [id, name]));
  return (
    <Select
      aria-label="Workflow"
      placeholder="Any workflow"
      clearable
      searchable
      w={240}
      nothingFoundMessage="None has this name"
      filter={({ options }) => options}
      data={[...names].map(([id, name]) => ({ value: id, label: name }))}
      value={value}
      onChange={onChange}
      onSearchChange={(text) => setTyped(text === names.get(value ?? "") ? "" : text)}
    />
  );
}
