import { Box, Group, Tooltip } from "@mantine/core";
import type { RecentRun } from "../api/schema";
import { isFinal, statusClasses } from "./status";
import { duration, timeAgo } from "./time";

const SHOWN = 12;
const WIDTH = 5;
const HEIGHT = 24;
const SMALLEST = 0.25;

/** The last runs as bars, the newest on the right: the colour says how they ended, the height how long they took. */
export function RunBars({ runs }: { runs: RecentRun[] }) {
  const seconds = runs.map(secondsOf);
  const longest = Math.max(...seconds, 0.001);
  const failed = runs.filter((run) => run.status === "failed").length;
  const label = runs.length === 0 ? "No runs yet" : `${runs.length} last runs, ${failed} of them failed`;
  return (
    <Group gap={3} wrap="nowrap" align="flex-end" h={HEIGHT} role="img" aria-label={label}>
      {Array.from({ length: SHOWN - runs.length }, (_, place) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: places without a run have no identity
        <Box key={place} w={WIDTH} h={3} className={statusClasses.gap} />
      ))}
      {runs
        .map((run, index) => (
          <Tooltip key={run.id} label={described(run)}>
            <Box
              w={WIDTH}
              h={HEIGHT * (SMALLEST + (1 - SMALLEST) * Math.sqrt((seconds[index] ?? 0) / longest))}
              className={statusClasses.bar}
              data-status={run.status}
            />
          </Tooltip>
        ))
        .reverse()}
    </Group>
  );
}

function secondsOf({ started_at, created_at, finished_at }: RecentRun): number {
  const end = finished_at ? Date.parse(finished_at) : Date.now();
  return Math.max(0, (end - Date.parse(started_at ?? created_at)) / 1000);
}

function described(run: RecentRun): string {
  const took = isFinal(run.status) ? ` in ${duration(secondsOf(run))}` : "";
  return `${run.status}${took}, ${timeAgo(run.created_at)}`;
}
