import { Button, Group, JsonInput, Modal, Select, Stack, Switch, Text } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useLocation } from "wouter";
import { api, body } from "../../api/client";
import type { Run } from "../../api/schema";
import { MONOSPACE } from "../../forms/fields/AnyField";
import type { StepNews } from "../../runs/liveRun";
import { ErrorNote } from "../../ui/ErrorNote";

const BEGINNING = "";

interface Props {
  run: Run;
  steps: StepNews[];
  onClose: () => void;
}

/** Runs it again from any step, with other input if wanted, on its version or the deployed one. */
export function Replay({ run, steps, onClose }: Props) {
  const [, navigate] = useLocation();
  const [from, setFrom] = useState(BEGINNING);
  const [input, setInput] = useState<string | null>(null);
  const [current, setCurrent] = useState(false);
  const nodes = [...new Set(steps.map(({ node_id }) => node_id))];
  const shown = input ?? (from === BEGINNING ? JSON.stringify(run.input, null, 2) : "");
  const replay = useMutation({
    mutationFn: () => {
      const given = input !== null && input.trim() !== "" ? { input: JSON.parse(input) } : {};
      const start = from === BEGINNING ? {} : { from_step: from };
      const version = current ? { version: "current" as const } : {};
      const params = { path: { id: run.id } };
      return body(api.POST("/api/workflow-runs/{id}/replay", { params, body: { ...start, ...given, ...version } }));
    },
    onSuccess: (made) => {
      onClose();
      navigate(`/runs/${made.id}`);
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    replay.mutate();
  };
  return (
    <Modal opened onClose={onClose} title={<Text fw={650}>Replay this run</Text>} size="lg">
      <form onSubmit={submit}>
        <Stack>
          <Select
            label="From"
            description="What was recorded before this step is taken over"
            data={[
              { value: BEGINNING, label: "The beginning" },
              ...nodes.map((node) => ({ value: node, label: node })),
            ]}
            allowDeselect={false}
            value={from}
            onChange={(node) => {
              setFrom(node ?? BEGINNING);
              setInput(null);
            }}
          />
          <JsonInput
            label="Input"
            description={
              from === BEGINNING
                ? "What the run begins with"
                : "What this step is given instead; empty: what it was given"
            }
            validationError="This is not JSON"
            autosize
            minRows={4}
            maxRows={16}
            styles={MONOSPACE}
            value={shown}
            onChange={setInput}
          />
          {run.workflow_id && (
            <Switch
              label="On the version that is deployed now"
              checked={current}
              onChange={(event) => setCurrent(event.currentTarget.checked)}
            />
          )}
          <ErrorNote error={replay.error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            <Button type="submit" loading={replay.isPending}>
              Replay
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
