import { Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { api, body } from "../api/client";
import { useEditor, useShown } from "../canvas/editor";
import { usePart } from "../canvas/store";
import { useShownNode } from "./NodeContext";
import classes from "./panel.module.css";

const PAUSE_MS = 300;
const SHOWN = 400;

/** What an expression or a template is worth, on the data of the run that is watched or of the newest one. */
export function Preview({ text, isTemplate }: { text: string; isTemplate: boolean }) {
  const editor = useEditor();
  const { id, mayEdit } = useShownNode();
  const runId = usePart(editor.runId, (watched) => watched);
  const saved = useShown(({ status }) => status === "saved");
  const [settled] = useDebouncedValue(text, PAUSE_MS);
  const told = useQuery({
    queryKey: ["last run", editor.workflowId, runId, "preview", id, isTemplate, settled],
    queryFn: () => {
      const source = isTemplate ? { template: settled } : { expression: settled };
      const run = runId ? { run_id: runId } : {};
      const params = { path: { id: editor.workflowId } };
      return body(
        api.POST("/api/workflows/{id}/draft/expressions/preview", { params, body: { ...source, node_id: id, ...run } }),
      );
    },
    enabled: mayEdit && saved && settled.trim() !== "",
    placeholderData: (before) => before,
    retry: false,
  });
  if (settled.trim() === "" || !told.data) return null;
  const { value, error, run_id } = told.data;
  if (error && !run_id) {
    return (
      <Text fz="xs" c="dimmed" mt={4}>
        There is no run yet to try it on. Run the workflow once.
      </Text>
    );
  }
  if (error) {
    return (
      <Text fz="xs" mt={4} className={classes.fault} role="status">
        {error.message}
      </Text>
    );
  }
  const shown = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return (
    <div className={classes.preview} role="status" aria-label="Preview">
      <span aria-hidden>=</span>
      <code>{shown.length > SHOWN ? `${shown.slice(0, SHOWN)}…` : shown}</code>
    </div>
  );
}
