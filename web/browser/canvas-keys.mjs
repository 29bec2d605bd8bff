/** All of it by keys alone: signed in, a workflow made, built, connected, undone, deployed, run, and the run opened. */
import { call, check, choose, expect, play, visit } from "./stage.mjs";

const { URL: url, EMAIL: email, PASSWORD: password } = process.env;

await play(async (browser) => {
  const page = await visit(browser, { url, scheme: "dark" });
  await page.addInitScript(() => {
    document.addEventListener("pointerdown", () => console.error("the mouse was used"), true);
  });
  const canvas = page.getByRole("application");
  const node = (name) => page.getByTestId(`rf__node-${name}`);
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };

  await page.goto("/workflows");
  await isFocused(page.getByRole("textbox", { name: "Email" }));
  await page.keyboard.type(email);
  await press("Tab");
  await page.keyboard.type(password);
  await press("Enter");
  await tabTo(page, page.getByRole("button", { name: "New workflow" }).first());
  await press("Enter");
  await isFocused(page.getByLabel("Name"));
  await page.keyboard.type("By keys");
  await press("Enter");
  await page.waitForURL("**/workflows/*-*");
  const id = page.url().split("/").at(-1);

  await page.getByText("Nothing here yet").waitFor();
  await isFocused(canvas);
  await press("Tab");
  await choose(page, "manual");
  await node("manual_trigger").waitFor();
  await press("Tab"); // goes on from the selected node
  await choose(page, "no operation");
  await press("+");
  await choose(page, "transform");
  await node("transform").waitFor();
  await page.getByTestId("saved").getByText("Saved", { exact: true }).waitFor();
  expect((await draft(id)).edges.length === 2, "each follows the one before");

  await press("F2");
  await page.keyboard.type("Answer");
  await press("Enter");
  await node("transform").getByText("Answer").waitFor();
  await press("ArrowLeft", "c"); // from the middle back to the first, and out of it to the last
  await press("Escape");
  await page.getByRole("dialog").getByRole("combobox").waitFor({ state: "detached" });
  await press("ArrowLeft", "c");
  await choose(page, "Answer");
  await page.getByTestId("saved").getByText("Saved", { exact: true }).waitFor();
  expect((await draft(id)).edges.length === 3, "the first leads to the last as well");

  await press("ArrowRight", "d");
  await node("noop").locator("[data-disabled]").waitFor();
  await press("Control+z");
  await node("noop").locator("[data-disabled]").waitFor({ state: "detached" });
  await press("Delete");
  await node("noop").waitFor({ state: "detached" });
  await press("Control+z");
  await node("noop").waitFor();

  await press("Control+k");
  await choose(page, "Answer");
  await press("Enter"); // opens it
  await page.getByRole("complementary", { name: "Node Answer" }).waitFor();
  await tabTo(page, page.getByRole("textbox", { name: "Expression" }));
  await page.keyboard.type("7 * 6");
  await check(page, "panel by keys");
  await press("Escape");
  await isFocused(canvas);

  await press("?");
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
  await check(page, "help");
  await press("Escape");

  await press("Control+k");
  await choose(page, "Versions");
  await page.getByRole("textbox", { name: "Deploy the draft" }).waitFor();
  await press("Enter");
  await page.getByText("deployed", { exact: true }).waitFor();
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });

  await isFocused(canvas);
  await press("Control+Enter");
  await node("transform").locator("[data-status=completed]").waitFor();
  await page.locator("path[data-run=done]").first().waitFor({ state: "attached" }); // a straight line has no height
  await check(page, "ran by keys");
  await tabTo(page, page.getByRole("link", { name: "Open run" }), "Shift+Tab"); // the canvas lets go of the keys
  await press("Enter");
  await page.waitForURL("**/runs/*");
  await tabTo(page, page.getByRole("button", { name: /Answer/ }));
  await press("Enter");
  await page.getByRole("region", { name: "Output of Answer" }).getByText("42").waitFor();
  await check(page, "run by keys");
});

async function isFocused(what) {
  await what.waitFor();
  await what.page().waitForFunction((element) => element === document.activeElement, await what.elementHandle());
}

async function tabTo(page, what, key = "Tab") {
  for (let tries = 0; tries < 40; tries += 1) {
    if (await what.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press(key);
  }
  throw new Error("the keys do not lead there");
}

async function draft(id) {
  return (await call("GET", `/api/workflows/${id}/draft`)).definition;
}
