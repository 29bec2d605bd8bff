/** Pictures of every page, light and dark: `URL=… EMAIL=… PASSWORD=… SHOTS=folder node browser/look.mjs`. */
import { check, play, visit } from "./stage.mjs";

const { URL: url, EMAIL: email, PASSWORD: password, RUN: run } = process.env;
const PAGES = ["workflows", "runs", "connections", "triggers", "cluster"];

await play(async (browser) => {
  for (const scheme of ["light", "dark"]) {
    const page = await visit(browser, { url, scheme });
    await page.goto("/sign-in");
    await page.getByLabel("Email").waitFor();
    await check(page, `sign-in ${scheme}`);
    await page.getByLabel("Email").fill(email);
    await page.getByLabel("Password").first().fill(password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Workflows" }).waitFor();
    for (const name of PAGES) {
      await page.goto(`/${name}`);
      await page.waitForLoadState("networkidle").catch(() => {});
      await check(page, `${name} ${scheme}`).catch((error) => console.error(error.message));
    }
    if (run) {
      await page.goto(`/runs/${run}`);
      await page.waitForTimeout(1000);
      await check(page, `run ${scheme}`).catch((error) => console.error(error.message));
    }
    await page.goto("/connections");
    await page.getByRole("button", { name: "New connection" }).first().click();
    await page.waitForTimeout(500);
    await check(page, `connection types ${scheme}`).catch((error) => console.error(error.message));
    await page.getByRole("button", { name: "OAuth" }).first().click();
    await page.waitForTimeout(300);
    await check(page, `connection ${scheme}`).catch((error) => console.error(error.message));
  }
});
