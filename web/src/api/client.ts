import createClient, { type Middleware } from "openapi-fetch";
import { ApiError } from "./errors";
import type { paths } from "./schema.gen";

/** The token of this browser's session, which every call that changes something carries; `GET /api/auth/me` tells it. */
let csrfToken: string | null = null;

export function keepCsrfToken(token: string | null): void {
  csrfToken = token;
}

let onRefused: () => void = () => {};

/** Calls `listener` whenever the server refuses a call because of who makes it: nobody any more, or somebody else. */
export function whenRefused(listener: () => void): void {
  onRefused = listener;
}

const REFUSALS = new Set([401, 403]);

/** Every answer that is not good becomes an `ApiError`, so callers handle one kind of failure. */
const middleware: Middleware = {
  onRequest({ request }) {
    if (csrfToken && request.method !== "GET") request.headers.set("X-CSRF-Token", csrfToken);
    return request;
  },
  async onResponse({ response, schemaPath }) {
    if (response.ok) return;
    const error = await ApiError.of(response);
    if (REFUSALS.has(response.status) && !schemaPath.startsWith("/api/auth/")) onRefused();
    throw error;
  },
  onError() {
    return ApiError.unreachable();
  },
};

/** The API, typed by our OpenAPI document: `api.GET("/api/workflows/{id}", { params: { path: { id } } })`. */
export const api = createClient<paths>({
  credentials: "same-origin",
  fetch: (request) => fetch(request), // the one of the moment: tests put theirs in its place
});
api.use(middleware);

/** The body of a good answer. Others have been thrown already. */
export async function body<T>(call: Promise<{ data?: T }>): Promise<T> {
  return (await call).data as T;
}
