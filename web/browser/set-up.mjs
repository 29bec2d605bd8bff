/** The first administrator, by the link that the server has printed. */
import { check, expect, play, visit } from "./stage.mjs";

const { URL: url, LINK: link, EMAIL: email, PASSWORD: password } = process.env;

await play(async (browser) => {
  const page = await visit(browser, { url });
  await page.goto("/");
  await page.getByText("Nobody can sign in yet").waitFor();
  await page.goto(link);
  await page.reload(); // only what stands behind the # has changed
  await page.getByRole("heading", { name: "Welcome" }).waitFor();
  await check(page, "set-up");
  await page.getByRole("textbox", { name: "Email" }).fill(email);
  await page.getByLabel("Name").fill("Ada Lovelace");
  await page.getByLabel("Password").first().fill(password);
  await page.getByRole("button", { name: "Make the administrator" }).click();
  await page.getByRole("heading", { name: "No workflows yet" }).waitFor();
  expect(!page.url().includes("#"), "the token is gone from the address");
  await check(page, "no workflows");

  await page.goto(link);
  await page.reload();
  await page.getByRole("textbox", { name: "Email" }).fill("eve@example.com");
  await page.getByLabel("Password").first().fill(password);
  await page.getByRole("button", { name: "Make the administrator" }).click();
  await page.getByText("There is an administrator already.").waitFor();
});
