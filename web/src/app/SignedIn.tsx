import { Center, Loader } from "@mantine/core";
import type { ReactNode } from "react";
import { Redirect, useLocation } from "wouter";
import { asApiError } from "../api/errors";
import { ErrorNote } from "../ui/ErrorNote";
import { useMe } from "./session";

/** What only those see who are signed in; others are led to the sign-in, and back here afterwards. */
export function SignedIn({ children }: { children: ReactNode }) {
  const me = useMe();
  const [path] = useLocation();
  if (me.data && !me.error) return children;
  if (me.isPending) {
    return (
      <Center h="100vh">
        <Loader aria-label="Loading" />
      </Center>
    );
  }
  const error = asApiError(me.error);
  if (error.status === 401) return <Redirect to={`/sign-in?to=${encodeURIComponent(path)}`} replace />;
  return (
    <Center h="100vh" p="md">
      <ErrorNote error={error} onRetry={() => me.refetch()} />
    </Center>
  );
}
