import { Button, CopyButton, Group, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { queries } from "../app/queries";
import type { Gone, LostText, Refusal } from "../collab";
import { tell, tellError } from "../ui/notify";
import { timeAgo } from "../ui/time";
import type { Editor } from "./editor";

const LONG_MS = 15_000;

/** Tells what happens to the draft beside what is seen on the canvas, until the answered function is called. */
export function tellEvents(editor: Editor): () => void {
  const { draft } = editor;
  const stops = [
    draft.on("refused", (refusal) => tellRefusal(editor, refusal)),
    draft.on("conflict", tellLost),
    draft.on("error", ({ message }) => tellError(new Error(message))),
    draft.on("version_deployed", ({ version_number, by }) => {
      void queries.invalidateQueries({ queryKey: ["versions", editor.workflowId] });
      void queries.invalidateQueries({ queryKey: ["workflows"] });
      const who = nameOf(by);
      if (who && who !== draft.snapshot().you?.name) tell(`${who} deployed version ${version_number}.`);
    }),
    draft.on("run_started", ({ run_id }) => {
      // One's own start is answered before or after it is told to the room.
      setTimeout(() => offerRun(editor, run_id), 1_000);
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

function offerRun(editor: Editor, runId: string): void {
  const watched = editor.runId.get();
  if (watched === runId) return;
  const id = `run of ${editor.workflowId}`;
  const watch = () => {
    notifications.hide(id);
    editor.watch(runId);
  };
  notifications.hide(id);
  notifications.show({
    id,
    message: <Offer text="A run has started." action="Watch it" onTake={watch} />,
    color: "iris",
  });
}

function tellRefusal(editor: Editor, { message, gone, details }: Refusal): void {
  if (gone) {
    tellGone(editor, gone);
    return;
  }
  const first = details[0];
  tellError(new Error(first && !message.includes(first.problem) ? `${message} ${first.problem}` : message));
}

/** What one changed is not there any more: who removed it, and the way to bring it back. */
function tellGone(editor: Editor, gone: Gone): void {
  const id = `gone ${gone.id}`;
  const by = nameOf(gone.by) ?? "somebody";
  const restore = () => {
    notifications.hide(id);
    editor.draft.restore(gone).catch(tellError);
  };
  notifications.show({
    id,
    color: "yellow",
    autoClose: LONG_MS,
    message: (
      <Offer text={`“${gone.id}” was deleted by ${by} ${timeAgo(gone.at)}.`} action="Restore" onTake={restore} />
    ),
  });
}

function tellLost({ id, path, yours }: LostText): void {
  notifications.show({
    color: "yellow",
    autoClose: false,
    message: (
      <Group justify="space-between" wrap="nowrap">
        <Text fz="sm">
          Somebody replaced {String(path.at(-1))} of “{id}” while you wrote in it.
        </Text>
        <CopyButton value={yours}>
          {({ copied, copy }) => (
            <Button size="compact-sm" variant="light" onClick={copy}>
              {copied ? "Copied" : "Copy yours"}
            </Button>
          )}
        </CopyButton>
      </Group>
    ),
  });
}

function Offer({ text, action, onTake }: { text: string; action: string; onTake: () => void }) {
  return (
    <Group justify="space-between" wrap="nowrap">
      <Text fz="sm">{text}</Text>
      <Button size="compact-sm" variant="light" onClick={onTake}>
        {action}
      </Button>
    </Group>
  );
}

function nameOf(by: unknown): string | null {
  if (typeof by === "string") return by;
  const name = (by as { name?: unknown } | null)?.name;
  return typeof name === "string" ? name : null;
}
