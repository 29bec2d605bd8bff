import { ActionIcon, Button, Divider, Group, Stack, Text, TextInput, Tooltip } from "@mantine/core";
import { IconLink, IconTrash } from "@tabler/icons-react";
import { useState } from "react";
import { useEditor, useShown } from "../canvas/editor";
import type { WorkflowNode } from "../collab";
import { SchemaForm } from "../forms/SchemaForm";
import type { Schema } from "../forms/schema";
import { useShownNode } from "./NodeContext";
import { useChange } from "./Parameters";

/** The fields that every node has (melagent/domain/definition.py), as a schema for the form. */
const SCHEMA: Schema = {
  type: "object",
  properties: {
    disabled: { type: "boolean", default: false, description: "It does nothing and passes its input on" },
    on_error: {
      enum: ["fail", "continue", "branch"],
      default: "fail",
      title: "When it fails for good",
      description:
        "`fail` ends the run, `continue` goes on with the error as output, `branch` takes the output `error`",
    },
    timeout_seconds: {
      anyOf: [{ type: "number", exclusiveMinimum: 0 }, { type: "null" }],
      title: "Time limit",
      description: "Seconds for one attempt; 300 when it is empty",
    },
    labels: {
      type: "array",
      items: { type: "string", maxLength: 100 },
      default: [],
      description: "The run goes on at a worker that has them, for instance `zone=eu`",
    },
    on_interrupted: {
      enum: ["retry", "fail", "skip"],
      default: "retry",
      title: "When its worker is lost",
      description: "What happens to an attempt that nobody saw the end of",
    },
    retry: {
      type: "object",
      "x-group": "Retry",
      title: "Attempts",
      properties: {
        max_attempts: { type: "integer", minimum: 1, default: 3, description: "1 means no retry" },
        initial_delay_ms: { type: "integer", minimum: 0, default: 1000, title: "First pause, in milliseconds" },
        backoff_multiplier: {
          type: "number",
          minimum: 1,
          default: 2,
          description: "Each pause is so many times longer",
        },
        max_delay_ms: { type: "integer", minimum: 0, default: 300_000, title: "Longest pause, in milliseconds" },
        jitter: { enum: ["full", "none"], default: "full", description: "Whether pauses differ by chance" },
      },
    },
  },
};

/** What every node has: when it fails, how often it is tried, where it runs; its id, and its wires. */
export function Settings({ node }: { node: WorkflowNode }) {
  const { mayEdit } = useShownNode();
  const change = useChange(node.id);
  return (
    <Stack gap="lg">
      <SchemaForm
        schema={SCHEMA}
        value={node as unknown as Record<string, unknown>}
        onChange={change}
        readOnly={!mayEdit}
      />
      <Divider />
      <IdField key={node.id} node={node} />
      <Wires id={node.id} />
    </Stack>
  );
}

const ID = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$/;

function IdField({ node }: { node: WorkflowNode }) {
  const editor = useEditor();
  const { mayEdit } = useShownNode();
  const [typed, setTyped] = useState(node.id);
  const taken = typed !== node.id && editor.nodes.has(typed);
  const problem = taken ? "Another node has this id" : ID.test(typed) ? null : "Letters, digits, _ and - only";
  return (
    <Group align="flex-end" gap="xs" wrap="nowrap">
      <TextInput
        flex={1}
        label="Id"
        description={
          <>
            Its name in expressions: <code>steps.{node.id}.output</code>. Those that use it follow.
          </>
        }
        error={problem}
        disabled={!mayEdit}
        value={typed}
        onChange={(event) => setTyped(event.currentTarget.value)}
      />
      {mayEdit && typed !== node.id && (
        <Button variant="default" disabled={problem !== null} onClick={() => editor.renameId(node.id, typed)}>
          Change
        </Button>
      )}
    </Group>
  );
}

function Wires({ id }: { id: string }) {
  const editor = useEditor();
  const { mayEdit } = useShownNode();
  const edges = useShown((shown) => shown.edges);
  const own = [...edges.values()].filter(({ source, target }) => source === id || target === id);
  return (
    <Stack gap={6}>
      <Group justify="space-between">
        <Text fz="sm" fw={500}>
          Wires
        </Text>
        {mayEdit && (
          <Button
            size="compact-sm"
            variant="light"
            leftSection={<IconLink size={14} />}
            onClick={() => editor.dialog.set({ kind: "connect", from: id })}
          >
            Connect to …
          </Button>
        )}
      </Group>
      {own.length === 0 && (
        <Text fz="sm" c="dimmed">
          It is not connected.
        </Text>
      )}
      {own.map((edge) => {
        const leaves = edge.source === id;
        const other = editor.nameOf(leaves ? edge.target : edge.source);
        const text = leaves ? `${edge.source_handle} → ${other}` : `${other} →`;
        return (
          <Group key={edge.id} justify="space-between" wrap="nowrap">
            <Text fz="sm" truncate>
              {text}
            </Text>
            {mayEdit && (
              <Tooltip label="Remove this wire">
                <ActionIcon aria-label={`Remove the wire ${text}`} onClick={() => editor.remove([], [edge.id])}>
                  <IconTrash size={15} />
                </ActionIcon>
              </Tooltip>
            )}
          </Group>
        );
      })}
    </Stack>
  );
}
