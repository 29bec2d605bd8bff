import { Card, Group, Stack, Text, ThemeIcon, Title } from "@mantine/core";
import type { Icon } from "@tabler/icons-react";
import type { ReactNode } from "react";

interface Props {
  icon: Icon;
  title: string;
  text: string;
  children?: ReactNode;
}

/** What a list shows that has nothing in it: why, and what to do about it. */
export function EmptyState({ icon: IconOf, title, text, children }: Props) {
  return (
    <Card py={64}>
      <Stack align="center" gap="sm" ta="center">
        <ThemeIcon size={52} radius="xl" variant="light">
          <IconOf size={26} stroke={1.6} />
        </ThemeIcon>
        <Title order={2} fz="lg">
          {title}
        </Title>
        <Text c="dimmed" maw={420}>
          {text}
        </Text>
        {children && <Group mt="xs">{children}</Group>}
      </Stack>
    </Card>
  );
}
