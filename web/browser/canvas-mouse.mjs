/** A workflow is built with the mouse, deployed, run, and seen to light up. */
import { atRest, call, check, expect, play, signIn, visit } from "./stage.mjs";

const { URL: url } = process.env;

await play(async (browser) => {
  const { id } = await call("POST", "/api/workflows", { name: "By mouse" });
  const page = await visit(browser, { url });
  await page.goto(`/workflows/${id}`);
  await signIn(page);
  const node = (name) => page.getByTestId(`rf__node-${name}`);

  await page.getByText("Nothing here yet").waitFor();
  await page.getByRole("button", { name: "Add a node" }).click();
  await page.getByRole("combobox", { name: "Add a node" }).fill("manual");
  await check(page, "palette");
  await page.getByRole("option", { name: "Manual trigger" }).click();
  await node("manual_trigger").waitFor();

  // A wire from its output, let go over the empty canvas, asks for the next node.
  await drag(page, node("manual_trigger").locator(".react-flow__handle.source"), 330, -60);
  await page.getByRole("combobox", { name: "Add a node" }).fill("transform");
  await page.getByRole("option", { name: "Transform" }).click();
  await node("transform").waitFor();
  await page.getByTestId("saved").getByText("Saved", { exact: true }).waitFor();
  expect((await draft(id)).edges.length === 1, "the new node is connected");

  // It is opened, and given an expression with a value to be seen.
  await node("transform").dblclick();
  await page.getByRole("textbox", { name: "Expression" }).click();
  await page.keyboard.type("1 + 41");
  await check(page, "panel");
  await page.getByRole("button", { name: "Close the panel" }).click();

  // The button goes on from the selected node; and what is dragged stays where it is dropped.
  await page.getByRole("button", { name: "Add a node" }).click();
  await page.getByRole("combobox", { name: "Add a node" }).fill("no operation");
  await page.getByRole("option", { name: "No operation" }).click();
  await node("noop").waitFor();
  const from = await node("noop").boundingBox();
  await drag(page, node("noop"), 0, 140);
  await page.getByTestId("saved").getByText("Saved", { exact: true }).waitFor();
  const moved = (await draft(id)).nodes.find((each) => each.id === "noop").position;
  expect(moved.y >= 96 && (await node("noop").boundingBox()).y > from.y + 90, "the drop is kept");

  await page.getByRole("button", { name: "Deploy" }).click();
  await page.getByRole("textbox", { name: "Deploy the draft" }).fill("First");
  await check(page, "versions");
  await page.getByRole("dialog").getByRole("button", { name: "Deploy" }).click();
  await page.getByText("deployed", { exact: true }).waitFor();
  await page.keyboard.press("Escape");

  await page.getByRole("button", { name: "More ways to run" }).click();
  await page.getByRole("menuitem", { name: "The deployed version 1" }).click();
  await node("transform").locator("[data-status=completed]").waitFor();
  await page.locator("path[data-run=done]").nth(1).waitFor();
  await page.getByLabel("Run", { exact: true }).getByText("Completed").waitFor();
  await check(page, "ran");

  await node("transform").dblclick();
  await page.getByRole("tab", { name: "Data" }).click();
  await page.getByRole("region", { name: "Output" }).getByText("42").waitFor();
  await page.getByRole("link", { name: "Open run" }).click();
  await page.waitForURL("**/runs/*");
});

/** From the middle of something, so far. */
async function drag(page, what, x, y) {
  await page.getByRole("dialog").waitFor({ state: "detached" }); // it lies over the canvas until it has faded
  const box = await atRest(page, what);
  const [left, top] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(left, top);
  await page.mouse.down();
  await page.mouse.move(left + x / 2, top + y / 2, { steps: 4 });
  await page.mouse.move(left + x, top + y, { steps: 4 });
  await page.mouse.up();
}

async function draft(id) {
  return (await call("GET", `/api/workflows/${id}/draft`)).definition;
}
