export interface Problem {
  field: string;
  problem: string;
}

/** An error of the API, in the contract's form: a stable code, a message for people, and what is wrong with which field. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: Problem[] = [],
    readonly requestId = "",
  ) {
    super(message);
  }

  static async of(response: Response): Promise<ApiError> {
    const said = await response.json().catch(() => null);
    if (typeof said?.error !== "string") {
      return new ApiError(response.status, "internal", `The server answered ${response.status} without saying why.`);
    }
    return new ApiError(response.status, said.error, said.message, said.details ?? [], said.request_id ?? "");
  }

  static unreachable(): ApiError {
    return new ApiError(0, "unavailable", "The server could not be reached. Check the connection and try again.");
  }

  /** What is wrong with a field, if anything. */
  problemOf(field: string): string | undefined {
    return this.details.find((each) => each.field === field)?.problem;
  }
}

export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError(0, "internal", error instanceof Error ? error.message : String(error));
}
