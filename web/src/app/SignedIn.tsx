import { Center, Loader } from "@mantine/core";
import type { ReactNode } from "react";
import { Redirect, useLocation, useSearch } from "wouter";
import { asApiError } from "../api/errors";
import { ErrorNote } from "../ui/ErrorNote";
import { useMe } from "./session";

/** What only those see who are signed in; others are led to the sign-in, and back here afterwards. */
export function SignedIn({ children }: { children: ReactNode }) {
  const me = useMe();
  const [path] = useLocation();
  const search = useSearch();
  const error = me.error ? asApiError(me.error) : null;
  if (error?.status === 401) {
    const here = search ? `${path}?${search}` : path;
    return <Redirect to={`/sign-in?to=${encodeURIComponent(here)}`} replace />;
  }
  if (me.data) return children; // a server that cannot be reached right now is no reason to take the page away
  if (me.isPending) {
    return (
      <Center h="100vh">
        <Loader aria-label="Loading" />
      </Center>
    );
  }
  return (
    <Center h="100vh" p="md">
      <ErrorNote error={error} onRetry={() => me.refetch()} />
    </Center>
  );
}
