import { ActionIcon, Anchor, List, Loader, Menu, Modal, Switch, Text } from "@mantine/core";
import { IconDots, IconListSearch, IconPencil, IconPlugConnected, IconTrash } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { api, body } from "../../api/client";
import type { Connection } from "../../api/schema";
import { queries } from "../../app/queries";
import { Confirm } from "../../ui/Confirm";
import { ErrorNote } from "../../ui/ErrorNote";
import { tell, tellError } from "../../ui/notify";

interface Props {
  connection: Connection;
  editor: boolean;
  onEdit: () => void;
}

/** What can be done to a connection in the list. */
export function ConnectionMenu({ connection, editor, onEdit }: Props) {
  const [open, setOpen] = useState<"uses" | "delete" | null>(null);
  const close = () => setOpen(null);
  const trial = useMutation({
    mutationFn: () => body(api.POST("/api/connections/{id}/test", { params: { path: { id: connection.id } } })),
    onSuccess: ({ success, message }) => tell(`${connection.name} ${success ? "works" : "does not work"}. ${message}`),
    onError: tellError,
  });
  return (
    <>
      <Menu position="bottom-end" shadow="md" width={190}>
        <Menu.Target>
          <ActionIcon aria-label={`Actions for ${connection.name}`} loading={trial.isPending}>
            <IconDots size={18} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          {editor && (
            <>
              <Menu.Item leftSection={<IconPencil size={16} />} onClick={onEdit}>
                Edit
              </Menu.Item>
              <Menu.Item leftSection={<IconPlugConnected size={16} />} onClick={() => trial.mutate()}>
                Test
              </Menu.Item>
            </>
          )}
          <Menu.Item leftSection={<IconListSearch size={16} />} onClick={() => setOpen("uses")}>
            Where used
          </Menu.Item>
          {editor && (
            <>
              <Menu.Divider />
              <Menu.Item color="red" leftSection={<IconTrash size={16} />} onClick={() => setOpen("delete")}>
                Delete…
              </Menu.Item>
            </>
          )}
        </Menu.Dropdown>
      </Menu>
      {open === "uses" && (
        <Modal opened onClose={close} title={<Text fw={650}>Where “{connection.name}” is used</Text>}>
          <Uses id={connection.id} />
        </Modal>
      )}
      {open === "delete" && <Delete connection={connection} onClose={close} />}
    </>
  );
}

function Uses({ id }: { id: string }) {
  const read = useQuery({
    queryKey: ["connections", "uses", id],
    queryFn: () => body(api.GET("/api/connections/{id}/uses", { params: { path: { id } } })),
  });
  if (read.isPending) return <Loader size="sm" aria-label="Loading" />;
  if (read.error) return <ErrorNote error={read.error} onRetry={() => read.refetch()} />;
  if (read.data.uses.length === 0) {
    return (
      <Text fz="sm" c="dimmed">
        Nothing that is deployed uses it.
      </Text>
    );
  }
  return (
    <List size="sm" spacing={4}>
      {read.data.uses.map(({ workflow_id, workflow_name, node_id, trigger_id }) => (
        <List.Item key={workflow_id + (node_id ?? trigger_id)}>
          <Anchor component={Link} href={`/workflows/${workflow_id}`}>
            {workflow_name}
          </Anchor>
          {node_id ? `, node ${node_id}` : ", a trigger made by hand"}
        </List.Item>
      ))}
    </List>
  );
}

function Delete({ connection, onClose }: { connection: Connection; onClose: () => void }) {
  const [force, setForce] = useState(false);
  const remove = async () => {
    await api.DELETE("/api/connections/{id}", { params: { path: { id: connection.id }, query: { force } } });
    await queries.invalidateQueries({ queryKey: ["connections"] });
  };
  return (
    <Confirm
      title={`Delete “${connection.name}”?`}
      text="Its secret is gone for good. Steps that use it fail from then on."
      action="Delete the connection"
      onConfirm={remove}
      onClose={onClose}
    >
      <Uses id={connection.id} />
      <Switch
        label="Delete it although it is used"
        checked={force}
        onChange={(event) => setForce(event.currentTarget.checked)}
      />
    </Confirm>
  );
}
