import { Box, Text } from "@mantine/core";
import type { LogLine } from "../../runs/liveRun";

const COLORS: Record<string, string | undefined> = { error: "red", warning: "yellow", warn: "yellow" };
const SHOWN_APART = new Set(["step_key", "level", "message", "time", "at"]);

/** What a step has said, the newest last. */
export function LogLines({ lines }: { lines: readonly LogLine[] }) {
  if (lines.length === 0) {
    return (
      <Text fz="sm" c="dimmed">
        It has said nothing.
      </Text>
    );
  }
  return (
    <Box
      component="ol"
      m={0}
      p={0}
      mah={380}
      tabIndex={0}
      aria-label="Log"
      style={{ overflow: "auto", listStyle: "none" }}
    >
      {lines.map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines are only added at the end
        <Text component="li" key={index} fz="xs" ff="monospace" py={3} c={COLORS[line.level ?? ""]}>
          {line.message}
          <Text span fz="xs" ff="monospace" c="dimmed">
            {rest(line)}
          </Text>
        </Text>
      ))}
    </Box>
  );
}

function rest(line: LogLine): string {
  const fields = Object.entries(line).filter(([name]) => !SHOWN_APART.has(name));
  return fields
    .map(([name, value]) => ` ${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join("");
}
