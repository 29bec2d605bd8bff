import createClient, { type Middleware } from "openapi-fetch";
import { ApiError } from "./errors";
import type { paths } from "./schema.gen";

/** The token of this browser's session, which every call that changes something carries; `GET /api/auth/me` tells it. */
let csrfToken: string | null = null;

export function keepCsrfToken(token: string | null): void {
  csrfToken = token;
}

let onSignedOut: () => void = () => {};

/** Calls `listener` whenever the server says that nobody is signed in (any more). */
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

/** Every answer that is not good becomes an `ApiError`, so callers handle one kind of failure. */
const middleware: Middleware = {
  onRequest({ request }) {
    if (csrfToken && request.method !== "GET") request.headers.set("X-CSRF-Token", csrfToken);
    return request;
  },
  async onResponse({ response, schemaPath }) {
    if (response.ok) return;
    const error = await ApiError.of(response);
    if (response.status === 401 && !schemaPath.startsWith("/api/auth/")) onSignedOut();
    throw error;
  },
  onError() {
    return ApiError.unreachable();
  },
};

/** The API, typed by our OpenAPI document: `api.GET("/api/workflows/{id}", { params: { path: { id } } })`. */
export const api = createClient<paths>({ credentials: "same-origin" });
api.use(middleware);

/** The body of a good answer. Others have been thrown already. */
export async function body<T>(call: Promise<{ data?: T }>): Promise<T> {
  return (await call).data as T;
}
