import { ActionIcon, Checkbox, Menu } from "@mantine/core";
import { IconActivity, IconCopy, IconDots, IconPencil, IconTrash } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { api, body } from "../../api/client";
import type { Workflow } from "../../api/schema";
import { queries } from "../../app/queries";
import { Confirm } from "../../ui/Confirm";
import { tell, tellError } from "../../ui/notify";

/** What can be done to a workflow in the list. */
export function WorkflowMenu({ workflow }: { workflow: Workflow }) {
  const [deleting, setDeleting] = useState(false);
  const duplicating = useMutation({
    mutationFn: () => body(api.POST("/api/workflows", { body: copyOf(workflow) })),
    onSuccess: (made) => {
      tell(`“${made.name}” is made.`);
      return refresh();
    },
    onError: tellError,
  });
  return (
    <>
      <Menu position="bottom-end" shadow="md" width={190}>
        <Menu.Target>
          <ActionIcon aria-label={`Actions for ${workflow.name}`} loading={duplicating.isPending}>
            <IconDots size={18} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item component={Link} href={`/workflows/${workflow.id}`} leftSection={<IconPencil size={16} />}>
            Open
          </Menu.Item>
          <Menu.Item component={Link} href={`/runs?workflow=${workflow.id}`} leftSection={<IconActivity size={16} />}>
            Runs
          </Menu.Item>
          <Menu.Item leftSection={<IconCopy size={16} />} onClick={() => duplicating.mutate()}>
            Duplicate
          </Menu.Item>
          <Menu.Divider />
          <Menu.Item color="red" leftSection={<IconTrash size={16} />} onClick={() => setDeleting(true)}>
            Delete…
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      {deleting && <Delete workflow={workflow} onClose={() => setDeleting(false)} />}
    </>
  );
}

function Delete({ workflow, onClose }: { workflow: Workflow; onClose: () => void }) {
  const [cancelRuns, setCancelRuns] = useState(false);
  const remove = async () => {
    const params = { path: { id: workflow.id }, query: { cancel_runs: cancelRuns } };
    await api.DELETE("/api/workflows/{id}", { params });
    await refresh();
  };
  return (
    <Confirm
      title={`Delete “${workflow.name}”?`}
      text="Its draft, versions and triggers go, and nothing brings them back. What is recorded of its runs stays."
      action="Delete the workflow"
      onConfirm={remove}
      onClose={onClose}
    >
      <Checkbox
        label="Cancel runs that are in flight"
        checked={cancelRuns}
        onChange={(event) => setCancelRuns(event.currentTarget.checked)}
      />
    </Confirm>
  );
}

function copyOf({ name, description, definition }: Workflow) {
  return { name: `${name} (copy)`.slice(0, 200), description, definition };
}

function refresh() {
  return queries.invalidateQueries({ queryKey: ["workflows"] });
}
