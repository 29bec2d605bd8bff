import { Button, Group, JsonInput, Modal, SegmentedControl, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, body } from "../api/client";
import { useEditor } from "./editor";
import { type Start, start } from "./running";

const remembered = new Map<string, string>();

/** Starts a run with an input of one's own, of the draft or of what is deployed. The last input is there again. */
export function RunWithInput({ onClose }: { onClose: () => void }) {
  const editor = useEditor();
  const [input, setInput] = useState(remembered.get(editor.workflowId) ?? "{}");
  const [version, setVersion] = useState<Start["version"]>("draft");
  const [starting, setStarting] = useState(false);
  const workflow = useQuery({
    queryKey: ["workflows", "one", editor.workflowId],
    queryFn: () => body(api.GET("/api/workflows/{id}", { params: { path: { id: editor.workflowId } } })),
  });
  const given = parsed(input);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!given) return;
    setStarting(true);
    remembered.set(editor.workflowId, input);
    if (await start(editor, { version, ...given })) onClose();
    setStarting(false);
  };
  return (
    <Modal opened onClose={onClose} title={<Text fw={650}>Run with input</Text>} size="lg" returnFocus={false}>
      <form onSubmit={submit}>
        <Stack>
          <JsonInput
            label="Input"
            description="What the trigger is given"
            autosize
            minRows={6}
            maxRows={18}
            ff="monospace"
            data-autofocus
            value={input}
            onChange={setInput}
            error={given ? undefined : "This is not JSON"}
          />
          <SegmentedControl
            aria-label="What to run"
            data={[
              { value: "draft", label: "The draft" },
              {
                value: "current",
                label: `The deployed version ${workflow.data?.current_version ?? ""}`,
                disabled: !workflow.data?.current_version,
              },
            ]}
            value={version}
            onChange={(value) => setVersion(value as Start["version"])}
          />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            <Button type="submit" loading={starting} disabled={!given}>
              Run
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

/** Nothing at all is no input. */
function parsed(text: string): { input?: unknown } | null {
  if (text.trim() === "") return {};
  try {
    return { input: JSON.parse(text) };
  } catch {
    return null;
  }
}
