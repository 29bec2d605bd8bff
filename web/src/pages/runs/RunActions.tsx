import { Button } from "@mantine/core";
import { IconPlayerPause, IconPlayerPlay, IconPlayerStop, IconRefresh, IconRotateClockwise } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { useLocation } from "wouter";
import { api, body } from "../../api/client";
import type { Run } from "../../api/schema";
import { queries } from "../../app/queries";
import type { StepNews } from "../../runs/liveRun";
import { Confirm } from "../../ui/Confirm";
import { tellError } from "../../ui/notify";
import { isFinal } from "../../ui/status";
import { Replay } from "./Replay";

/** What can be done to a run in its present state. */
export function RunActions({ run, steps }: { run: Run; steps: StepNews[] }) {
  const [, navigate] = useLocation();
  const [asking, setAsking] = useState<"cancel" | "replay" | null>(null);
  const params = { path: { id: run.id } };
  const refresh = () => queries.invalidateQueries({ queryKey: ["run", run.id] });
  const change = useMutation({
    mutationFn: (deed: "pause" | "resume") => body(api.POST(`/api/workflow-runs/{id}/${deed}`, { params })),
    onSuccess: refresh,
    onError: tellError,
  });
  const retry = useMutation({
    mutationFn: () => body(api.POST("/api/workflow-runs/{id}/retry", { params })),
    onSuccess: (made) => navigate(`/runs/${made.id}`),
    onError: tellError,
  });
  const cancel = async () => {
    await api.POST("/api/workflow-runs/{id}/cancel", { params });
    await refresh();
  };
  const live = !isFinal(run.status);
  return (
    <>
      {live && run.status !== "paused" && (
        <Button
          variant="default"
          leftSection={<IconPlayerPause size={16} />}
          loading={change.isPending}
          onClick={() => change.mutate("pause")}
        >
          Pause
        </Button>
      )}
      {run.status === "paused" && (
        <Button
          variant="default"
          leftSection={<IconPlayerPlay size={16} />}
          loading={change.isPending}
          onClick={() => change.mutate("resume")}
        >
          Resume
        </Button>
      )}
      {live && (
        <Button
          variant="light"
          color="red"
          leftSection={<IconPlayerStop size={16} />}
          onClick={() => setAsking("cancel")}
        >
          Cancel
        </Button>
      )}
      {!live && (
        <Button variant="default" leftSection={<IconRotateClockwise size={16} />} onClick={() => setAsking("replay")}>
          Replay
        </Button>
      )}
      {(run.status === "failed" || run.status === "cancelled") && (
        <Button leftSection={<IconRefresh size={16} />} loading={retry.isPending} onClick={() => retry.mutate()}>
          Retry from the failure
        </Button>
      )}
      {asking === "cancel" && (
        <Confirm
          title="Cancel this run?"
          text="Steps that run now are stopped. It can be retried afterwards."
          action="Cancel the run"
          onConfirm={cancel}
          onClose={() => setAsking(null)}
        />
      )}
      {asking === "replay" && <Replay run={run} steps={steps} onClose={() => setAsking(null)} />}
    </>
  );
}
