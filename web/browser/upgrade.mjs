/** A page of the last version asks for a file that the new one does not have: it is loaded anew, once. */
import { call, expect, play, signIn, visit } from "./stage.mjs";

const { URL: url } = process.env;

await play(async (browser) => {
  const { id } = await call("POST", "/api/workflows", { name: "Gone" });
  const page = await visit(browser, { url });
  await page.goto("/workflows");
  await signIn(page);
  let loads = 0;
  page.on("request", (request) => {
    loads += request.isNavigationRequest() ? 1 : 0;
  });
  let gone = () => loads === 0;
  await page.route(/CanvasPage-.*\.js/, (route) =>
    gone() ? route.fulfill({ status: 404, body: "" }) : route.continue(),
  );
  await page.evaluate((to) => window.history.pushState(null, "", to), `/workflows/${id}`);
  await page.getByText("Nothing here yet").waitFor();
  expect(loads === 1, `loaded anew once, and not ${loads} times`);

  gone = () => true;
  await page.reload();
  await page.getByText("could not be loaded").waitFor();
  await page.waitForTimeout(500);
  expect(loads <= 3, `a file that is gone for good is no reason to load for ever: loaded ${loads} times`);
});
