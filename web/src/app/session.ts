import { useQuery } from "@tanstack/react-query";
import { api, body, keepCsrfToken, whenRefused } from "../api/client";
import type { Me } from "../api/schema";
import { queries } from "./queries";

const KEY = ["me"];

/** Who is signed in; the query fails with a 401 when nobody is. */
export function useMe() {
  return useQuery({ queryKey: KEY, queryFn: fetchMe, staleTime: 60_000 });
}

async function fetchMe(): Promise<Me> {
  const me = await body(api.GET("/api/auth/me"));
  keepCsrfToken(me.csrf_token);
  return me;
}

/** Keep the answer of a sign-in: all that was read before belongs to somebody else. */
export function signedInAs(me: Me): void {
  queries.clear();
  keepCsrfToken(me.csrf_token);
  queries.setQueryData(KEY, me);
}

export async function signOut(): Promise<void> {
  await api.POST("/api/auth/logout");
  leave();
}

function leave(): void {
  keepCsrfToken(null);
  queries.clear();
  window.location.assign("/sign-in");
}

/**
 * A session that has ended, or was replaced in another tab, shows as a refusal of any call: ask who is signed in now,
 * which leads to the sign-in, or brings the token and the role of whoever it is.
 */
whenRefused(() => void queries.invalidateQueries({ queryKey: KEY }));

/** Whether somebody may change things. */
export function mayEdit(me: Me | undefined): boolean {
  return me?.role === "editor" || me?.role === "admin";
}
