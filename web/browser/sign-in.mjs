/** In with a password, back to where one was, light and dark, and out again. */
import { check, expect, play, signIn, visit } from "./stage.mjs";

const { URL: url, EMAIL: email } = process.env;

await play(async (browser) => {
  const page = await visit(browser, { url });
  await page.goto("/connections");
  await page.waitForURL("**/sign-in?to=%2Fconnections");
  await page.getByRole("textbox", { name: "Email" }).fill(email);
  await page.getByLabel("Password").first().fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("The email or the password is wrong.").waitFor();
  await check(page, "sign-in refused");
  await signIn(page);
  await page.getByRole("heading", { name: "Connections", exact: true }).waitFor();

  await page.getByRole("button", { name: "Ada Lovelace" }).click();
  await page.getByRole("menuitem", { name: "Dark" }).click();
  expect((await page.locator("html").getAttribute("data-mantine-color-scheme")) === "dark", "it is dark");
  await page.reload();
  await page.getByRole("heading", { name: "Connections", exact: true }).waitFor();
  expect((await page.locator("html").getAttribute("data-mantine-color-scheme")) === "dark", "it stays dark");

  const other = await page.context().newPage();
  await other.goto("/runs");
  await other.getByRole("heading", { name: "Runs", exact: true }).waitFor();
  await page.getByRole("button", { name: "Ada Lovelace" }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await page.waitForURL("**/sign-in");
  await other.waitForURL("**/sign-in?to=%2Fruns"); // it asks again within five seconds, and is refused
});
