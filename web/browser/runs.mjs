/** Runs: the list with its filters, and one run as it happens. */
import { call, check, expect, play, signIn, visit } from "./stage.mjs";

const { URL: url } = process.env;
const SLOW = {
  nodes: [
    { id: "start", type: "manual_trigger" },
    { id: "say", type: "log", config: { message: "about to wait" } },
    { id: "gate", type: "wait", config: { signal: "go" } },
    { id: "last", type: "set", config: { fields: { answer: 42 } } },
  ],
  edges: [
    { source: "start", target: "say" },
    { source: "say", target: "gate" },
    { source: "gate", target: "last" },
  ],
};
const FAILING = {
  nodes: [
    { id: "start", type: "manual_trigger" },
    { id: "check", type: "stop", config: { status: "error", message: "the stock is empty" } },
  ],
  edges: [{ source: "start", target: "check" }],
};

await play(async (browser) => {
  const page = await visit(browser, { url });
  await page.goto("/runs");
  await signIn(page);

  const waiting = await call("POST", "/api/workflow-runs", { name: "Slow", definition: SLOW, input: { order: 7 } });
  await page.goto(`/runs/${waiting.id}`);
  await page.getByText("Waits for the signal go").waitFor();
  await page.getByRole("button", { name: /say/ }).click();
  await page.getByRole("tab", { name: "Logs" }).click();
  await page.getByText("about to wait").waitFor();
  await check(page, "run waiting");
  await call("POST", `/api/workflow-runs/${waiting.id}/signals/go`, { fine: true });
  await page.getByText("Completed").first().waitFor();
  await page.getByRole("button", { name: /last/ }).click();
  await page.getByRole("region", { name: "Output of last" }).getByText('"answer": 42').waitFor();
  await page.getByRole("region", { name: "Output of the run" }).waitFor();

  const cancelled = await call("POST", "/api/workflow-runs", { name: "Slow", definition: SLOW });
  await page.goto(`/runs/${cancelled.id}`);
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByRole("button", { name: "Cancel the run" }).click();
  await page.getByText("Cancelled").first().waitFor();

  const failed = await call("POST", "/api/workflow-runs", { name: "Failing", definition: FAILING, wait_seconds: 10 });
  await page.goto(`/runs/${failed.id}`);
  await page.getByText("the stock is empty").first().waitFor();
  await check(page, "run failed");
  await page.getByRole("button", { name: "Retry from the failure" }).click();
  await page.waitForURL((address) => !address.pathname.endsWith(failed.id));
  await page.getByText("Retry of").waitFor();
  await page.getByRole("button", { name: "Replay" }).click();
  await page.getByRole("textbox", { name: "Input" }).fill('{"again": true}');
  await check(page, "run replaying");
  await page.getByRole("dialog").getByRole("button", { name: "Replay" }).click();
  await page.getByRole("region", { name: "Input of the run" }).getByText('"again": true').waitFor();

  await page.goto("/runs");
  await page.getByRole("combobox", { name: "State" }).click();
  await page.getByRole("option", { name: "Cancelled" }).click();
  await page.waitForURL("**/runs?status=cancelled");
  await page.getByRole("link", { name: "Failing" }).first().waitFor({ state: "detached" });
  expect((await page.getByRole("link", { name: "Slow" }).count()) === 1, "one run was cancelled");
  await check(page, "runs filtered");
});
