import { ActionIcon, Box, Code, CopyButton, Text, Tooltip } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";

const MOST_CHARACTERS = 200_000;

/** A value as JSON, to read and to copy. A text of several lines is shown as it is. */
export function JsonView({ value, label, maxHeight = 420 }: { value: unknown; label: string; maxHeight?: number }) {
  const whole = typeof value === "string" && value.includes("\n") ? value : (JSON.stringify(value, null, 2) ?? "");
  const text = whole.slice(0, MOST_CHARACTERS);
  return (
    <Box pos="relative">
      <Code
        block
        mah={maxHeight}
        pr={44}
        style={{ overflow: "auto", whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}
        tabIndex={0}
        role="region"
        aria-label={label}
        fz="xs"
      >
        {text}
      </Code>
      <CopyButton value={whole}>
        {({ copied, copy }) => (
          <Tooltip label={copied ? "Copied" : "Copy"}>
            <ActionIcon pos="absolute" top={6} right={6} onClick={copy} aria-label={`Copy ${label}`}>
              {copied ? <IconCheck size={16} /> : <IconCopy size={16} />}
            </ActionIcon>
          </Tooltip>
        )}
      </CopyButton>
      {text.length < whole.length && (
        <Text fz="xs" c="dimmed" mt={4}>
          The first {MOST_CHARACTERS.toLocaleString()} characters of {whole.length.toLocaleString()}; copying takes all.
        </Text>
      )}
    </Box>
  );
}
