import { Card, Group, Text, Title } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import type { ReactNode } from "react";
import logo from "../app/logo.svg";
import classes from "./EntrancePage.module.css";

/** What those see who are not in yet: one card on an empty page. */
export function EntrancePage({ title, text, children }: { title: string; text: string; children: ReactNode }) {
  useDocumentTitle(`${title} · MEL Agent`);
  return (
    <main className={classes.page}>
      <div className={classes.column}>
        <Group gap="sm" mb="xl" justify="center">
          <img src={logo} alt="" width={36} height={36} />
          <Text fw={650} fz={22} lts="-0.02em">
            MEL Agent
          </Text>
        </Group>
        <Card padding="xl" shadow="sm">
          <Title order={1} fz={22} lts="-0.02em">
            {title}
          </Title>
          <Text c="dimmed" mb="lg" mt={4}>
            {text}
          </Text>
          {children}
        </Card>
      </div>
    </main>
  );
}
