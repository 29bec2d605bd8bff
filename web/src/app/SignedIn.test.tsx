import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { render, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Router } from "wouter";
import { memoryLocation } from "wouter/memory-location";
import { api } from "../api/client";
import { queries } from "./queries";
import { SignedIn } from "./SignedIn";

const ME = {
  kind: "user",
  id: "1",
  name: "Ada",
  email: null,
  role: "editor",
  scopes: [],
  csrf_token: "t",
  expires_at: null,
};
const refusal = (status: number, error: string) => Response.json({ error, message: error, details: [] }, { status });

let answer: (path: string) => Response;

beforeEach(() => {
  queries.clear();
  queries.setDefaultOptions({ queries: { retry: false } });
  vi.stubGlobal("fetch", async (request: Request) => answer(new URL(request.url).pathname));
});
afterEach(() => vi.unstubAllGlobals());

function show(path: string) {
  const { hook, searchHook, history } = memoryLocation({ path, record: true });
  render(
    <MantineProvider env="test">
      <QueryClientProvider client={queries}>
        <Router hook={hook} searchHook={searchHook}>
          <SignedIn>the page</SignedIn>
        </Router>
      </QueryClientProvider>
    </MantineProvider>,
  );
  return history;
}

test("who is signed in sees the page, also while the server cannot be reached", async () => {
  answer = () => Response.json(ME);
  show("/workflows");
  await screen.findByText("the page");
  answer = () => {
    throw new TypeError("no network");
  };
  await queries.invalidateQueries({ queryKey: ["me"] });
  expect(screen.getByText("the page")).toBeTruthy();
});

test("who is not signed in is led to the sign-in, and back to the whole address afterwards", async () => {
  answer = () => refusal(401, "unauthenticated");
  const history = show("/runs?status=failed");
  await waitFor(() => expect(history.at(-1)).toBe("/sign-in?to=%2Fruns%3Fstatus%3Dfailed"));
});

test("a call that is refused asks again who is signed in", async () => {
  answer = () => Response.json(ME);
  const history = show("/workflows");
  await screen.findByText("the page");
  answer = () => refusal(401, "unauthenticated");
  await expect(api.GET("/api/workflows")).rejects.toThrow("unauthenticated");
  await waitFor(() => expect(history.at(-1)).toContain("/sign-in"));
});
