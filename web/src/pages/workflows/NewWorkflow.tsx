import { Button, Group, Modal, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useLocation } from "wouter";
import { api, body } from "../../api/client";
import { queries } from "../../app/queries";
import { ErrorNote } from "../../ui/ErrorNote";

/** Asks for a name, makes an empty workflow, and goes to its canvas. */
export function NewWorkflow({ onClose }: { onClose: () => void }) {
  const [, navigate] = useLocation();
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const making = useMutation({
    mutationFn: () => body(api.POST("/api/workflows", { body: { name: name.trim(), description } })),
    onSuccess: (made) => {
      void queries.invalidateQueries({ queryKey: ["workflows"] });
      navigate(`/workflows/${made.id}`);
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    making.mutate();
  };
  return (
    <Modal opened onClose={onClose} title={<Text fw={650}>New workflow</Text>}>
      <form onSubmit={submit}>
        <Stack>
          <TextInput
            label="Name"
            placeholder="Nightly report"
            required
            maxLength={200}
            data-autofocus
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <Textarea
            label="Description"
            placeholder="What it is for"
            autosize
            minRows={2}
            value={description}
            onChange={(event) => setDescription(event.currentTarget.value)}
          />
          <ErrorNote error={making.error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            <Button type="submit" loading={making.isPending} disabled={!name.trim()}>
              Create
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
