import { ActionIcon, Button, Group, Paper, Text, Tooltip } from "@mantine/core";
import { IconExternalLink, IconPlayerStop, IconX } from "@tabler/icons-react";
import { useEffect } from "react";
import { Link } from "wouter";
import { api } from "../api/client";
import { queries } from "../app/queries";
import { runView } from "../runs/runView";
import { useLiveRun } from "../runs/useLiveRun";
import { tellError } from "../ui/notify";
import { isFinal, StatusMark } from "../ui/status";
import { duration, secondsBetween, useNow } from "../ui/time";
import classes from "./CanvasPage.module.css";
import { useEditor } from "./editor";
import { usePart } from "./store";

/** The run that is watched: its events light up the canvas, and this strip says how it goes. */
export function RunStrip() {
  const editor = useEditor();
  const runId = usePart(editor.runId, (id) => id);
  const live = useLiveRun(runId);
  useEffect(() => {
    if (runId) editor.run.set(runView(live, editor.edges.values(), editor.run.get()));
  }, [editor, runId, live]);
  const status = live.run?.status;
  useEffect(() => {
    if (status && isFinal(status)) void queries.invalidateQueries({ queryKey: ["last run", editor.workflowId] });
  }, [editor, status]);
  const now = useNow(status !== undefined && !isFinal(status), 200);
  if (!runId) return null;
  const run = live.run;
  const failed = run?.error ? String(run.error.message ?? run.error.code) : null;
  const cancel = () =>
    api.POST("/api/workflow-runs/{id}/cancel", { params: { path: { id: runId } } }).catch((error) => tellError(error));
  return (
    <Paper className={classes.strip} shadow="md" role="status" aria-label="Run">
      <Group gap="sm" wrap="nowrap">
        {run ? <StatusMark status={run.status} /> : <Text fz="sm">Starting …</Text>}
        {run && (
          <Text fz="sm" c="dimmed" className="numeric">
            {duration(secondsBetween(run.started_at ?? run.created_at, run.finished_at, now))}
          </Text>
        )}
        {failed && (
          <Tooltip label={failed} multiline maw={420}>
            <Text fz="sm" truncate maw={300}>
              {failed}
            </Text>
          </Tooltip>
        )}
        {live.error && <Text fz="sm">{live.error.message}</Text>}
        <Button
          component={Link}
          href={`/runs/${runId}`}
          size="compact-sm"
          variant="subtle"
          rightSection={<IconExternalLink size={14} />}
        >
          Open run
        </Button>
        {run && !isFinal(run.status) && editor.mayEdit && (
          <Tooltip label="Cancel the run">
            <ActionIcon aria-label="Cancel the run" onClick={cancel}>
              <IconPlayerStop size={16} />
            </ActionIcon>
          </Tooltip>
        )}
        <ActionIcon aria-label="Stop watching" onClick={() => editor.watch(null)}>
          <IconX size={16} />
        </ActionIcon>
      </Group>
    </Paper>
  );
}
