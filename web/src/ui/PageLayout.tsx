import { Box, Group, Text, Title } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import type { ReactNode } from "react";

interface Props {
  title: string;
  subtitle?: string;
  actions?: ReactNode;
  children: ReactNode;
}

/** A page within the frame: its heading, what can be done there, and its content. */
export function PageLayout({ title, subtitle, actions, children }: Props) {
  useDocumentTitle(`${title} · MEL Agent`);
  return (
    <Box maw={1180} mx="auto" px={{ base: "md", md: "xl" }} py={{ base: "lg", md: 36 }}>
      <Group justify="space-between" align="flex-start" mb="xl" gap="md">
        <div>
          <Title order={1} fz={26} lts="-0.02em">
            {title}
          </Title>
          {subtitle && (
            <Text c="dimmed" mt={4}>
              {subtitle}
            </Text>
          )}
        </div>
        {actions && <Group gap="sm">{actions}</Group>}
      </Group>
      {children}
    </Box>
  );
}
