import type { Run } from "../../api/schema";

const BY_HAND = "manual";

/** What started a run, in two or three words. */
export function triggerText({ trigger, parent_run_id, retry_of }: Run): string {
  if (retry_of) return "Retry";
  if (parent_run_id) return "Another run";
  if (trigger.type === BY_HAND) return "By hand";
  const type = trigger.type.charAt(0).toUpperCase() + trigger.type.slice(1).replaceAll("_", " ");
  return trigger.node_id ? `${type} · ${trigger.node_id}` : type;
}
