/** The list of workflows, and all that can be done from it. */
import { check, expect, play, signIn, visit } from "./stage.mjs";

const { URL: url } = process.env;
const FILE = "name: From a file\ndescription: Says hello\nnodes:\n  - {id: start, type: manual_trigger}\n";

await play(async (browser) => {
  const page = await visit(browser, { url });
  await page.goto("/workflows");
  await signIn(page);

  await page.getByRole("button", { name: "New workflow" }).first().click();
  await page.getByLabel("Name").fill("Made by hand");
  await check(page, "new workflow");
  await page.getByRole("button", { name: "Create" }).click();
  await page.waitForURL("**/workflows/*-*");

  await page.goto("/workflows");
  await page
    .locator("input[type=file]")
    .first()
    .setInputFiles({ name: "hello.yaml", mimeType: "text/yaml", buffer: Buffer.from(FILE) });
  await page.waitForURL("**/workflows/*-*");

  await page.goto("/workflows");
  await drop(page, "broken.json", "{");
  await page.getByText("broken.json is not imported.").waitFor();
  await drop(page, "wrong.yaml", "nodes: [{id: 'a b', type: noop}]");
  await page.getByText("definition.nodes[0].id").waitFor();
  await drop(page, "dropped.yaml", FILE.replace("From a file", "Dropped"));
  await page.waitForURL("**/workflows/*-*");

  await page.goto("/workflows");
  await page.getByRole("textbox", { name: "Search workflows" }).fill("DROPP");
  await page.getByRole("link", { name: "Made by hand" }).waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Actions for Dropped" }).click();
  await page.getByRole("menuitem", { name: "Duplicate" }).click();
  await page.getByRole("link", { name: "Dropped (copy)" }).waitFor();
  await check(page, "workflows found");
  await page.getByRole("button", { name: "Actions for Dropped (copy)" }).click();
  await page.getByRole("menuitem", { name: "Delete…" }).click();
  await check(page, "workflow deleting");
  await page.getByRole("button", { name: "Delete the workflow" }).click();
  await page.getByRole("link", { name: "Dropped (copy)" }).waitFor({ state: "detached" });
  expect((await page.getByRole("link", { name: "Dropped" }).count()) === 1, "only the copy is gone");
});

/** A file dragged from outside into the middle of the page. */
async function drop(page, name, text) {
  await page.getByRole("heading", { name: "Workflows", exact: true }).waitFor();
  const files = await page.evaluateHandle(
    ([name, text]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], name));
      return transfer;
    },
    [name, text],
  );
  await page.dispatchEvent("h1", "dragenter", { dataTransfer: files });
  await page.getByText("Drop workflow files to import them").waitFor();
  await page.dispatchEvent("h1", "drop", { dataTransfer: files });
}
