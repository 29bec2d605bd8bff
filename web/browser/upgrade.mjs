/** A page of the last version asks for a file that the new one does not have: it is loaded anew, once. */
import { expect, play, signIn, visit } from "./stage.mjs";

const { URL: url } = process.env;

await play(async (browser) => {
  const page = await visit(browser, { url });
  await page.goto("/workflows");
  await signIn(page);
  let asked = 0;
  let loads = 0;
  page.on("load", () => {
    loads += 1;
  });
  await page.route(/CanvasPage-.*\.js/, (route) => {
    asked += 1;
    return asked === 1 ? route.fulfill({ status: 404, body: "" }) : route.continue();
  });
  await page.evaluate(() => window.history.pushState(null, "", "/workflows/01a21915-ebed-7edc-a7db-f879fa4273a0"));
  await page.getByText("01a21915", { exact: false }).waitFor();
  expect(asked === 2 && loads === 1, `loaded anew once: asked ${asked} times, loaded ${loads} times`);

  await page.route(/CanvasPage-.*\.js/, (route) => {
    asked += 1;
    return route.fulfill({ status: 404, body: "" });
  });
  await page.reload();
  await page.getByText("could not be loaded").waitFor();
  await page.waitForTimeout(500);
  expect(asked <= 4, `a file that is gone for good is no reason to load for ever: asked ${asked} times`);
});
