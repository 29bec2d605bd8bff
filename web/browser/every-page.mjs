/** Every page with something on it, in light and dark, and one on a small screen. */
import { call, check, expect, play, signIn, visit } from "./stage.mjs";

const { URL: url } = process.env;
const NAMES = ["Workflows", "Runs", "Triggers", "Connections", "Cluster"];
const DEFINITION = {
  nodes: [
    { id: "nightly", type: "schedule", config: { cron: "0 3 * * *" } },
    { id: "hook", type: "webhook" },
    { id: "start", type: "manual_trigger" },
    { id: "end", type: "noop" },
  ],
  edges: ["nightly", "hook", "start"].map((source) => ({ source, target: "end" })),
};

await play(async (browser) => {
  const made = await call("POST", "/api/workflows", { name: "Everything", definition: DEFINITION });
  await call("POST", `/api/workflows/${made.id}/versions`, { name: "first" });
  await call("POST", `/api/workflows/${made.id}/versions/latest/deploy`);
  await call("POST", `/api/workflows/${made.id}/execute`, { entry: "start", wait_seconds: 10 });
  for (const scheme of ["light", "dark"]) {
    const page = await visit(browser, { url, scheme });
    await page.goto("/");
    await check(page, `sign in ${scheme}`);
    await signIn(page);
    for (const name of NAMES) {
      await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name }).click();
      await page.getByRole("heading", { name, exact: true, level: 1 }).waitFor();
      await page.waitForLoadState("networkidle");
      await check(page, `${name.toLowerCase()} ${scheme}`);
    }
    if (scheme === "dark") await page.context().close();
    else await walkByKeyboard(page);
  }
  const small = await visit(browser, { url, width: 390, height: 800 });
  await small.goto("/workflows");
  await signIn(small);
  await small.getByRole("link", { name: "Everything" }).waitFor();
  await check(small, "workflows small");
  const wide = await small.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  expect(wide <= 0, `nothing is wider than the screen, by ${wide} pixels`);
  await small.getByRole("button", { name: "Navigation" }).click();
  await small.getByRole("link", { name: "Cluster" }).click();
  await small.getByRole("heading", { name: "Cluster", exact: true }).waitFor();
});

/** The keyboard alone reaches the content, and opens what stands in a list. */
async function walkByKeyboard(page) {
  await page.goto("/workflows");
  await page.getByRole("link", { name: "Everything" }).waitFor();
  await page.keyboard.press("Tab");
  await page.getByRole("link", { name: "Skip to the content" }).press("Enter");
  for (let steps = 0; steps < 12; steps += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement?.textContent === "Everything")) {
      await page.keyboard.press("Enter");
      await page.waitForURL("**/workflows/*-*");
      return;
    }
  }
  throw new Error("the keyboard does not reach the list");
}
