import { QueryClient } from "@tanstack/react-query";
import { ApiError } from "../api/errors";

const TRIES = 3;

/** Reading is tried again when the server could not answer; a refusal stands. */
export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (failures, error) =>
        failures < TRIES && !(error instanceof ApiError && error.status > 0 && error.status < 500),
    },
  },
});
