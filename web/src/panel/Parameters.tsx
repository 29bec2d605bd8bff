import { Text } from "@mantine/core";
import { useCallback, useMemo } from "react";
import type { NodeType } from "../api/schema";
import { useEditor } from "../canvas/editor";
import { usePart } from "../canvas/store";
import type { Json, WorkflowNode } from "../collab";
import type { FieldProps } from "../forms/FormContext";
import { type Path, problemsUnder } from "../forms/paths";
import { SchemaForm } from "../forms/SchemaForm";
import type { Schema } from "../forms/schema";
import { ConnectionField } from "./ConnectionField";
import { Expressible } from "./Expressible";
import { useShownNode } from "./NodeContext";
import { SharedText } from "./SharedText";
import { TextOrJson } from "./TextOrJson";
import { WorkflowField } from "./WorkflowField";

const CONTROLS = { "long-text": SharedText, any: TextOrJson, connection: ConnectionField, workflow: WorkflowField };

function around(field: FieldProps, control: React.ReactNode) {
  return <Expressible field={field} control={control} />;
}

/** The parameters of a node, as its type describes them. Every change is an edit of the draft, of that one field. */
export function Parameters({ node, type }: { node: WorkflowNode; type: NodeType | undefined }) {
  const editor = useEditor();
  const { mayEdit } = useShownNode();
  const told = usePart(editor.problems, (all) => all.get(node.id));
  const problems = useMemo(() => problemsUnder("config", told ?? []), [told]);
  const change = useChange(node.id, "config");
  if (!type) {
    return (
      <Text c="dimmed">This server does not know the type “{node.type}”. Its parameters are kept as they are.</Text>
    );
  }
  const schema = type.schema as Schema;
  if (Object.keys(schema.properties ?? {}).length === 0) return <Text c="dimmed">It has no parameters.</Text>;
  return (
    <SchemaForm
      schema={schema}
      value={node.config}
      onChange={change}
      problems={problems}
      readOnly={!mayEdit}
      around={around}
      controls={CONTROLS}
    />
  );
}

/** Changes of a form under a path of the node, as edits. */
export function useChange(id: string, ...under: string[]): (path: Path, value: unknown) => void {
  const editor = useEditor();
  const base = under.join("\n");
  return useCallback(
    (path, value) => {
      const whole = [...(base ? base.split("\n") : []), ...path];
      const op =
        value === undefined
          ? ({ op: "node.unset", id, path: whole } as const)
          : ({ op: "node.set", id, path: whole, value: value as Json } as const);
      editor.edit([op], `change ${path.at(-1)}`);
    },
    [editor, id, base],
  );
}
