import { Input } from "@mantine/core";
import type { FieldProps } from "../forms/FormContext";
import { useInputProps } from "../forms/fields/controls";
import { WorkflowSelect } from "../ui/WorkflowSelect";

/** Chooses a workflow by its name. */
export function WorkflowField(field: FieldProps) {
  const { disabled: _, ...wrapper } = useInputProps(field);
  return (
    <Input.Wrapper {...wrapper} labelElement="div">
      <WorkflowSelect
        value={typeof field.value === "string" ? field.value : null}
        onChange={(id) => field.onChange(id ?? undefined)}
      />
    </Input.Wrapper>
  );
}
