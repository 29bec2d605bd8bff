import { SimpleGrid, Stack, Text, TextInput, UnstyledButton } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useState } from "react";
import type { CredentialType } from "../api/schema";
import classes from "./connections.module.css";

/** All types to choose from, found by their names. */
export function TypeChoice({ types, onChoose }: { types: CredentialType[]; onChoose: (id: string) => void }) {
  const [search, setSearch] = useState("");
  const wanted = search.trim().toLowerCase();
  const found = types.filter(({ name, integration }) => `${name} ${integration}`.toLowerCase().includes(wanted));
  return (
    <Stack>
      <TextInput
        aria-label="Search types"
        placeholder="Search"
        leftSection={<IconSearch size={16} />}
        data-autofocus
        value={search}
        onChange={(event) => setSearch(event.currentTarget.value)}
      />
      <SimpleGrid cols={2} spacing="sm">
        {found.map(({ id, name, integration }) => (
          <UnstyledButton key={id} className={classes.type} onClick={() => onChoose(id)}>
            <TypeMark name={name} />
            <span className={classes.words}>
              <Text span fz="sm" fw={550} truncate>
                {name}
              </Text>
              {integration === "http" && (
                <Text span fz="xs" c="dimmed" truncate>
                  any HTTP service
                </Text>
              )}
            </span>
          </UnstyledButton>
        ))}
      </SimpleGrid>
      {found.length === 0 && <Text c="dimmed">There is no such type.</Text>}
    </Stack>
  );
}

/** Two letters on a colour of their own, which follows from the name. */
export function TypeMark({ name }: { name: string }) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % 360, 7);
  return (
    <span className={classes.mark} aria-hidden style={{ "--hue": hue } as React.CSSProperties}>
      {name.replace(/[^A-Za-z]/g, "").slice(0, 2)}
    </span>
  );
}
