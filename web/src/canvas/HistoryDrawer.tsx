import { ActionIcon, Avatar, Button, Drawer, Group, Loader, Menu, Stack, Text } from "@mantine/core";
import { IconArrowBackUp, IconDots, IconHistory } from "@tabler/icons-react";
import { useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, asApiError } from "../api/errors";
import { queries } from "../app/queries";
import { Confirm } from "../ui/Confirm";
import { EmptyState } from "../ui/EmptyState";
import { ErrorNote } from "../ui/ErrorNote";
import { tell, tellError } from "../ui/notify";
import { Moment } from "../ui/time";
import classes from "./CanvasPage.module.css";
import { colorOf } from "./colors";
import { grouped, type HistoryEdit, type HistoryGroup } from "./edited";
import { useEditor, useShown } from "./editor";
import { type Revert, readHistory, revert } from "./history";

/** Who changed what and when; an edit can be taken back, and the whole draft restored as it was. */
export function HistoryDrawer({ onClose }: { onClose: () => void }) {
  const editor = useEditor();
  const seq = useShown((shown) => shown.seq);
  const [refused, setRefused] = useState<{ wanted: Revert; why: ApiError } | null>(null);
  const read = useInfiniteQuery({
    queryKey: ["history", editor.workflowId, seq],
    queryFn: ({ pageParam }) => readHistory(editor.workflowId, pageParam),
    initialPageParam: null as number | null,
    getNextPageParam: ({ next_cursor }) => next_cursor,
    placeholderData: (before) => before,
  });
  const taking = useMutation({
    mutationFn: (wanted: Revert) => revert(editor.workflowId, wanted),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["history", editor.workflowId] });
      tell("Done. That is an edit as well, and can be taken back.");
    },
    onError: (error, wanted) => {
      if (error instanceof ApiError && error.status === 409) setRefused({ wanted, why: error });
      else tellError(error);
    },
  });
  const groups = grouped(read.data?.pages.flatMap(({ edits }) => edits) ?? [], (id) => editor.nameOf(id));
  return (
    <Drawer opened onClose={onClose} size={420} title={<Text fw={650}>History of the draft</Text>} returnFocus={false}>
      <ErrorNote error={read.error} onRetry={() => read.refetch()} />
      {read.isPending && <Loader aria-label="Loading" />}
      {read.data && groups.length === 0 && (
        <EmptyState icon={IconHistory} title="No edits yet" text="Whatever is changed from now on is listed here." />
      )}
      <Stack gap={2} component="ol" p={0} m={0}>
        {groups.map((group, index) => (
          <Entry
            key={group.edits[0]?.seq}
            group={group}
            isNewest={index === 0}
            busy={taking.isPending}
            onRevert={editor.mayEdit ? taking.mutate : undefined}
          />
        ))}
      </Stack>
      {read.hasNextPage && (
        <Button
          mt="md"
          variant="default"
          fullWidth
          loading={read.isFetchingNextPage}
          onClick={() => read.fetchNextPage()}
        >
          Older edits
        </Button>
      )}
      {refused && (
        <Confirm
          title="Others have built on this"
          text={asApiError(refused.why).message}
          action="Do it anyway"
          onConfirm={() => revert(editor.workflowId, { ...refused.wanted, force: true })}
          onClose={() => {
            setRefused(null);
            void queries.invalidateQueries({ queryKey: ["history", editor.workflowId] });
          }}
        />
      )}
    </Drawer>
  );
}

/** In the colour that the person has on the canvas. */
function Face({ id, name }: HistoryEdit["by"]) {
  const color = colorOf(id ?? name);
  const styles = { placeholder: { background: color, color: "#fff", borderColor: color } };
  return <Avatar name={name} size={30} radius="xl" alt="" styles={styles} />;
}

interface EntryProps {
  group: HistoryGroup;
  isNewest: boolean;
  busy: boolean;
  onRevert: ((wanted: Revert) => void) | undefined;
}

function Entry({ group: { edits, text }, isNewest, busy, onRevert }: EntryProps) {
  const [newest] = edits;
  if (!newest) return null;
  return (
    <Group component="li" wrap="nowrap" gap="sm" className={classes.entry}>
      <Face {...newest.by} />
      <div className={classes.words}>
        <Text fz="sm" lineClamp={2}>
          {text}
        </Text>
        <Text fz="xs" c="dimmed">
          {newest.by.name} · <Moment at={newest.at} span inherit />
          {edits.length > 1 && ` · ${edits.length} edits`}
        </Text>
      </div>
      {onRevert && (
        <Menu position="bottom-end" shadow="md">
          <Menu.Target>
            <ActionIcon aria-label={`What to do about: ${text}`} disabled={busy}>
              <IconDots size={16} />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item
              leftSection={<IconArrowBackUp size={16} />}
              onClick={() => onRevert({ edits: edits.map(({ seq }) => seq) })}
            >
              Take back just this
            </Menu.Item>
            {!isNewest && (
              <Menu.Item leftSection={<IconHistory size={16} />} onClick={() => onRevert({ to: newest.seq })}>
                Restore the draft as it was then
              </Menu.Item>
            )}
          </Menu.Dropdown>
        </Menu>
      )}
    </Group>
  );
}
