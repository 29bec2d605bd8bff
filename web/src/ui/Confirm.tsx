import { Button, Group, Modal, Stack, Text } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ErrorNote } from "./ErrorNote";

interface Props {
  title: string;
  text: ReactNode;
  /** What the button says: the deed itself. */
  action: string;
  onConfirm: () => Promise<unknown>;
  onClose: () => void;
  children?: ReactNode;
}

/** Asks before something is done that cannot be undone; a refusal is shown, and the question stays. */
export function Confirm({ title, text, action, onConfirm, onClose, children }: Props) {
  const doing = useMutation({ mutationFn: onConfirm, onSuccess: onClose });
  return (
    <Modal opened onClose={onClose} title={<Text fw={650}>{title}</Text>}>
      <Stack>
        <Text fz="sm">{text}</Text>
        {children}
        <ErrorNote error={doing.error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            Keep it
          </Button>
          <Button color="red" loading={doing.isPending} onClick={() => doing.mutate()} data-autofocus>
            {action}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
