import { Group, Text } from "@mantine/core";
import type { RunStatus, StepStatus } from "../api/schema";
import classes from "./status.module.css";

export type Status = RunStatus | StepStatus;

const FINAL: ReadonlySet<Status> = new Set<Status>(["completed", "failed", "cancelled", "skipped"]);

export function isFinal(status: Status): boolean {
  return FINAL.has(status);
}

/** A dot of the state's colour, and its name. The dot of what is running now beats. */
export function StatusMark({ status, size = "sm" }: { status: Status; size?: "sm" | "md" }) {
  return (
    <Group gap={8} wrap="nowrap" display="inline-flex">
      <span className={classes.dot} data-status={status} data-size={size} />
      <Text span fz={size === "md" ? "md" : "sm"} fw={500} tt="capitalize">
        {status}
      </Text>
    </Group>
  );
}

export { classes as statusClasses };
