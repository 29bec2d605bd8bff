/** A connection: made by the form of its type, tried, changed while its secret stays, and deleted. */
import { call, check, elsewhere, expect, play, signIn, visit } from "./stage.mjs";

const { URL: url } = process.env;

await play(async (browser) => {
  const shop = await elsewhere(() => ({ open: true }));
  const page = await visit(browser, { url });
  await page.goto("/connections");
  await signIn(page);
  await page.getByRole("button", { name: "New connection" }).first().click();
  await check(page, "connection types");
  await page.getByRole("button", { name: "Bearer token" }).click();
  const name = page.getByRole("textbox", { name: "Name", exact: true });
  await name.fill("Shop");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("config.token").waitFor(); // every problem at once, each at its field as well
  await check(page, "connection refused");

  await page.getByRole("button", { name: "Add to Allowed hosts" }).click();
  await page.getByRole("textbox", { name: "Allowed hosts 1" }).fill(shop);
  await page.getByRole("textbox", { name: "Test URL" }).fill(`${shop}/hours`);
  await page.getByLabel(/^Token/).fill("a secret of the shop");
  await page.getByRole("button", { name: "Test", exact: true }).click();
  await page.getByText("It works").waitFor();
  await check(page, "connection works");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("cell", { name: "Shop" }).first().waitFor();

  await page.getByRole("button", { name: "Actions for Shop" }).click();
  await page.getByRole("menuitem", { name: "Edit" }).click();
  const secret = page.getByLabel(/^Token/);
  expect((await secret.inputValue()) === "", "the secret has not come back");
  await name.fill("Shop 2");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("button", { name: "Actions for Shop 2" }).click();
  await page.getByRole("menuitem", { name: "Test" }).click();
  await page.getByText("Shop 2 works").waitFor();

  const { connections } = await call("GET", "/api/connections");
  expect(connections.find((each) => each.name === "Shop 2").config.token === "•••", "the secret is kept");
  await page.getByRole("button", { name: "Actions for Shop 2" }).click();
  await page.getByRole("menuitem", { name: "Delete…" }).click();
  await page.getByText("Nothing that is deployed uses it.").waitFor();
  await page.getByRole("button", { name: "Delete the connection" }).click();
  await page.getByRole("button", { name: "Actions for Shop 2" }).waitFor({ state: "detached" });
});
