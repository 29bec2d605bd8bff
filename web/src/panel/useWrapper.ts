import type { FieldProps } from "../forms/FormContext";
import { useInputProps } from "../forms/fields/controls";

/** The label, description and problem of a field, for a wrapper around a control that names itself; and whether it is disabled. */
export function useWrapper(field: FieldProps) {
  const {
    disabled,
    "aria-label": _,
    ...wrapper
  } = useInputProps(field) as ReturnType<typeof useInputProps> & {
    "aria-label"?: string;
  };
  return { disabled, wrapper: { ...wrapper, labelElement: "div" as const } };
}
