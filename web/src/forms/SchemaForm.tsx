import { useMemo } from "react";
import { FormProvider, type FormSlots } from "./FormContext";
import { ObjectFields } from "./fields/ObjectFields";
import type { Path } from "./paths";
import type { Schema } from "./schema";

interface Props extends FormSlots {
  /** Of an object, as `GET /api/node-types` and `GET /api/credential-types` give it. */
  schema: Schema;
  value: Record<string, unknown>;
  /** One change of one field. `undefined` takes the value away, so that its default counts. */
  onChange: (path: Path, value: unknown) => void;
  /** By the path within the value, as in `conditions[0].expression`; see `problemsUnder`. */
  problems?: ReadonlyMap<string, string>;
  readOnly?: boolean;
}

const NONE: ReadonlyMap<string, string> = new Map();

/** A form for any of our schemas. It holds no state that counts: value in, changes out. */
export function SchemaForm({ schema, value, onChange, problems = NONE, readOnly = false, around, controls }: Props) {
  const state = useMemo(
    () => ({ root: schema, problems, readOnly, change: onChange, around, controls }),
    [schema, problems, readOnly, onChange, around, controls],
  );
  return (
    <FormProvider value={state}>
      <ObjectFields schema={schema} path={ROOT} value={value} />
    </FormProvider>
  );
}

const ROOT: Path = [];
