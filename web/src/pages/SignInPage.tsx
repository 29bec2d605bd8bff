import { Anchor, Button, Divider, PasswordInput, Stack, Text, TextInput } from "@mantine/core";
import { IconLogin2 } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useLocation, useSearchParams } from "wouter";
import { api, body } from "../api/client";
import { signedInAs } from "../app/session";
import { ErrorNote } from "../ui/ErrorNote";
import { EntrancePage } from "./EntrancePage";

/** Sign in with email and password, or with the provider where there is one. */
export function SignInPage() {
  const [, navigate] = useLocation();
  const [search] = useSearchParams();
  const to = pathHere(search.get("to"));
  const methods = useQuery({ queryKey: ["sign-in methods"], queryFn: () => body(api.GET("/api/auth/methods")) });
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const signIn = useMutation({
    mutationFn: () => body(api.POST("/api/auth/login", { body: { email, password } })),
    onSuccess: (me) => {
      signedInAs(me);
      navigate(to, { replace: true });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    signIn.mutate();
  };
  return (
    <EntrancePage title="Sign in" text="Welcome back to MEL Agent.">
      <Stack>
        {methods.data?.set_up === false && <NoAdministrator />}
        {methods.data?.oidc && (
          <>
            <Button
              component="a"
              href={`/api/auth/oidc/login?return_to=${encodeURIComponent(to)}`}
              variant="default"
              size="md"
              leftSection={<IconLogin2 size={18} />}
            >
              Continue with single sign-on
            </Button>
            <Divider label="or" />
          </>
        )}
        <form onSubmit={submit}>
          <Stack>
            <TextInput
              label="Email"
              type="email"
              autoComplete="username"
              size="md"
              required
              withAsterisk={false}
              autoFocus
              value={email}
              onChange={(event) => setEmail(event.currentTarget.value)}
            />
            <PasswordInput
              label="Password"
              autoComplete="current-password"
              size="md"
              required
              withAsterisk={false}
              value={password}
              onChange={(event) => setPassword(event.currentTarget.value)}
            />
            <ErrorNote error={signIn.error} />
            <Button type="submit" size="md" loading={signIn.isPending}>
              Sign in
            </Button>
          </Stack>
        </form>
      </Stack>
    </EntrancePage>
  );
}

function NoAdministrator() {
  return (
    <Text fz="sm" c="dimmed">
      Nobody can sign in yet: open the set-up link that <code>server server</code> prints when it starts, or make a user
      with <code>server user add</code>. The <Anchor href="/api/docs">API</Anchor> takes keys already.
    </Text>
  );
}

/** Only a page of this very application is gone back to. */
function pathHere(path: string | null): string {
  return path?.startsWith("/") && !path.startsWith("//") && !path.includes("\\") ? path : "/workflows";
}
