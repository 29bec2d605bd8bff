import { Button, PasswordInput, Stack, Text, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useLocation } from "wouter";
import { api, body } from "../api/client";
import { asApiError } from "../api/errors";
import { signedInAs } from "../app/session";
import { ErrorNote } from "../ui/ErrorNote";
import { EntrancePage } from "./EntrancePage";

const SHORTEST_PASSWORD = 12;

/** The form behind the set-up link. Its token is in the part of the address that browsers keep to themselves. */
export function SetUpPage() {
  const [, navigate] = useLocation();
  const [token] = useState(() => window.location.hash.slice(1));
  const [fields, setFields] = useState({ email: "", name: "", password: "" });
  const setUp = useMutation({
    mutationFn: () => body(api.POST("/api/auth/setup", { body: { token, ...fields } })),
    onSuccess: (me) => {
      signedInAs(me);
      navigate("/workflows", { replace: true });
    },
  });
  const input = (name: keyof typeof fields) => ({
    size: "md",
    value: fields[name],
    error: setUp.error ? asApiError(setUp.error).problemOf(name) : undefined,
    onChange: (event: { currentTarget: { value: string } }) =>
      setFields({ ...fields, [name]: event.currentTarget.value }),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setUp.mutate();
  };
  return (
    <EntrancePage title="Welcome" text="Make the first administrator of this installation.">
      <form onSubmit={submit}>
        <Stack>
          {!token && (
            <Text fz="sm" c="red">
              This address has no token. Open the whole link that the server printed.
            </Text>
          )}
          <TextInput label="Email" type="email" autoComplete="username" required autoFocus {...input("email")} />
          <TextInput label="Name" autoComplete="name" {...input("name")} />
          <PasswordInput
            label="Password"
            description={`At least ${SHORTEST_PASSWORD} characters`}
            autoComplete="new-password"
            minLength={SHORTEST_PASSWORD}
            required
            {...input("password")}
          />
          <ErrorNote error={setUp.error} />
          <Button type="submit" size="md" loading={setUp.isPending} disabled={!token}>
            Make the administrator
          </Button>
        </Stack>
      </form>
    </EntrancePage>
  );
}
