import { Center, Loader, Stack, Text } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { ReactFlowProvider } from "@xyflow/react";
import { api, body } from "../api/client";
import { asApiError } from "../api/errors";
import { Frame } from "../app/Frame";
import { NotFoundPage } from "../pages/NotFoundPage";
import { NodePanel } from "../panel/NodePanel";
import { ErrorNote } from "../ui/ErrorNote";
import { AddButton, Bar, ViewTools } from "./Bar";
import { Canvas } from "./Canvas";
import classes from "./CanvasPage.module.css";
import { Dialogs } from "./Dialogs";
import { EditorProvider, useEditor, useShown } from "./editor";
import { RunStrip } from "./RunStrip";
import { usePart } from "./store";
import { useOpenEditor } from "./useOpenEditor";

/** The page at `/workflows/:id`, loaded when it is first visited. */
export default function CanvasPage({ workflowId }: { workflowId: string }) {
  const workflow = useQuery({
    queryKey: ["workflows", "one", workflowId],
    queryFn: () => body(api.GET("/api/workflows/{id}", { params: { path: { id: workflowId } } })),
  });
  const { editor, error, retry } = useOpenEditor(workflowId);
  useDocumentTitle(`${workflow.data?.name ?? "Workflow"} · MEL Agent`);
  if (workflow.error && [400, 404].includes(asApiError(workflow.error).status)) {
    return (
      <Frame>
        <NotFoundPage />
      </Frame>
    );
  }
  const failed = error ?? (workflow.data ? null : workflow.error);
  if (failed) {
    return (
      <Center h="100dvh" p="md">
        <ErrorNote error={failed} onRetry={() => (error ? retry() : workflow.refetch())} />
      </Center>
    );
  }
  if (!editor) return <Waiting />;
  return (
    <EditorProvider value={editor}>
      <Opened />
    </EditorProvider>
  );
}

function Opened() {
  const loaded = useShown(({ definition }) => definition !== null);
  const closed = useShown((shown) => shown.closed);
  if (!loaded) {
    if (!closed) return <Waiting />;
    return (
      <Center h="100dvh" p="md">
        <ErrorNote error={new Error(closed.reason || "The workflow cannot be opened.")} />
      </Center>
    );
  }
  return (
    <div className={classes.page}>
      <Bar />
      <main className={classes.stage}>
        <ReactFlowProvider>
          <Canvas />
        </ReactFlowProvider>
        <AddButton />
        <ViewTools />
        <EmptyHint />
        <RunStrip />
      </main>
      <NodePanel />
      <Dialogs />
    </div>
  );
}

function EmptyHint() {
  const empty = usePart(useEditor().graph.nodes, (nodes) => nodes.length === 0);
  if (!empty) return null;
  return (
    <Stack className={classes.empty} gap={6} align="center">
      <Text fw={650} fz="lg">
        Nothing here yet
      </Text>
      <Text c="dimmed" fz="sm">
        Press Tab to add the first node: what should start this workflow?
      </Text>
    </Stack>
  );
}

function Waiting() {
  return (
    <Center h="100dvh">
      <Loader aria-label="Loading" />
    </Center>
  );
}
