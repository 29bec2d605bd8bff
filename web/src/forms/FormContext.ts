import { type ComponentType, createContext, type ReactNode, useContext } from "react";
import type { Path } from "./paths";
import type { Kind, Schema } from "./schema";

/** What every field gets: where it is, what it is, what it holds, and how to change it. */
export interface FieldProps {
  path: Path;
  schema: Schema;
  kind: Kind;
  nullable: boolean;
  label: string;
  /** Of a list or map: its label is told to screen readers only, and emptied it stays an entry. */
  isEntry: boolean;
  required: boolean;
  value: unknown;
  /** Null or undefined when all is well. */
  problem: string | undefined;
  /** `undefined` takes the value away, so that its default counts. */
  onChange: (value: unknown) => void;
}

/** How a place that uses a form makes it its own. */
export interface FormSlots {
  /**
   * Around every field that holds one value (no object, list or map): for an expression mode, a history, a mark of who is
   * typing there. Gets the field and what would be shown without it.
   */
  around?: (field: FieldProps, control: ReactNode) => ReactNode;
  /** Instead of the built-in control of a kind. */
  controls?: Partial<Record<Kind, ComponentType<FieldProps>>>;
}

export interface FormState extends FormSlots {
  root: Schema;
  problems: ReadonlyMap<string, string>;
  readOnly: boolean;
  change: (path: Path, value: unknown) => void;
}

const FormContext = createContext<FormState | null>(null);

export const FormProvider = FormContext.Provider;

export function useForm(): FormState {
  const state = useContext(FormContext);
  if (!state) throw new Error("A field stands outside of a SchemaForm.");
  return state;
}
