import { Center, Overlay, Stack, Text } from "@mantine/core";
import { useWindowEvent } from "@mantine/hooks";
import { IconFileImport } from "@tabler/icons-react";
import { useRef, useState } from "react";

/** Takes files that are dropped anywhere on the page. */
export function DropZone({ onFiles }: { onFiles: (files: File[]) => void }) {
  const [over, setOver] = useState(false);
  const entered = useRef(0); // a drag enters and leaves every element on its way
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  useWindowEvent("dragenter", (event) => {
    if (!hasFiles(event)) return;
    entered.current += 1;
    setOver(true);
  });
  useWindowEvent("dragleave", () => {
    entered.current = Math.max(0, entered.current - 1);
    if (entered.current === 0) setOver(false);
  });
  useWindowEvent("dragover", (event) => hasFiles(event) && event.preventDefault());
  useWindowEvent("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    entered.current = 0;
    setOver(false);
    onFiles([...(event.dataTransfer?.files ?? [])]);
  });
  if (!over) return null;
  return (
    <Overlay fixed zIndex={300} backgroundOpacity={0.7} blur={3} style={{ pointerEvents: "none" }}>
      <Center h="100%">
        <Stack align="center" c="white" gap="xs">
          <IconFileImport size={44} stroke={1.4} />
          <Text fz="lg" fw={600}>
            Drop workflow files to import them
          </Text>
        </Stack>
      </Center>
    </Overlay>
  );
}
