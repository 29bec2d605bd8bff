import { Input } from "@mantine/core";
import type { FieldProps } from "../forms/FormContext";
import { WorkflowSelect } from "../ui/WorkflowSelect";
import { useWrapper } from "./useWrapper";

/** Chooses a workflow by its name. */
export function WorkflowField(field: FieldProps) {
  const { wrapper } = useWrapper(field);
  return (
    <Input.Wrapper {...wrapper}>
      <WorkflowSelect
        value={typeof field.value === "string" ? field.value : null}
        onChange={(id) => field.onChange(id ?? undefined)}
      />
    </Input.Wrapper>
  );
}
