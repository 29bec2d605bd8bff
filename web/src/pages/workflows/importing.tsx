import { Button, FileButton } from "@mantine/core";
import { IconFileImport } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useLocation } from "wouter";
import { api, body } from "../../api/client";
import { ApiError, asApiError } from "../../api/errors";
import type { NewWorkflowBody, Workflow } from "../../api/schema";
import { queries } from "../../app/queries";
import { tell, tellError } from "../../ui/notify";

type Importing = ReturnType<typeof useImport>;

/** Makes workflows of files. One file leads to its workflow; of several each is told. */
export function useImport() {
  const [, navigate] = useLocation();
  return useMutation({
    mutationFn: async (files: File[]) => {
      const made: Workflow[] = [];
      for (const file of files) {
        const workflow = await importFile(file).catch((error) => {
          tellError(named(file, error));
          return null;
        });
        if (workflow) made.push(workflow);
      }
      return made;
    },
    onSuccess: (made) => {
      void queries.invalidateQueries({ queryKey: ["workflows"] });
      const [first, ...others] = made;
      if (!first) return;
      tell(others.length === 0 ? `“${first.name}” is imported.` : `${made.length} workflows are imported.`);
      if (others.length === 0) navigate(`/workflows/${first.id}`);
    },
  });
}

export function ImportButton({ importing }: { importing: Importing }) {
  return (
    <FileButton accept=".yaml,.yml,.json" multiple onChange={importing.mutate}>
      {(props) => (
        <Button {...props} variant="default" leftSection={<IconFileImport size={18} />} loading={importing.isPending}>
          Import
        </Button>
      )}
    </FileButton>
  );
}

async function importFile(file: File): Promise<Workflow> {
  return body(api.POST("/api/workflows", { body: await read(file) }));
}

/** The name and description of a file stand beside the fields of its definition. */
export async function read(file: File): Promise<NewWorkflowBody> {
  const content = await parse(file);
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    throw new ApiError(0, "bad_request", "This is not a workflow: an object with nodes is expected.");
  }
  const { name, description, ...definition } = content as Record<string, unknown>;
  const fallback = file.name.replace(/\.(ya?ml|json)$/i, "");
  return {
    name: String(name ?? fallback),
    description: String(description ?? ""),
    definition: definition as NewWorkflowBody["definition"], // the server checks it and names every problem
  };
}

async function parse(file: File): Promise<unknown> {
  const text = await file.text();
  try {
    if (/\.json$/i.test(file.name)) return JSON.parse(text);
    const { parse: parseYaml } = await import("yaml");
    return parseYaml(text);
  } catch (error) {
    throw new ApiError(0, "bad_request", error instanceof Error ? error.message : String(error));
  }
}

function named(file: File, error: unknown): ApiError {
  const { status, code, message, details } = asApiError(error);
  return new ApiError(status, code, `${file.name} is not imported. ${message}`, details);
}
