import { notifications } from "@mantine/notifications";
import { asApiError } from "../api/errors";

export function tell(message: string): void {
  notifications.show({ message, color: "iris" });
}

/** A refusal that has no place of its own on the page. */
export function tellError(error: unknown): void {
  const { message, details } = asApiError(error);
  const problems = details.map(({ field, problem }) => `${field}: ${problem}`).join(" ");
  notifications.show({ title: message, message: problems, color: "red", autoClose: 10_000 });
}
