/** A browser for the scenarios beside this file: Debian's Chromium, driven by playwright-core. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const GRAVE = new Set(["serious", "critical"]);
const NAMES = ["chromium", "chromium-browser", "google-chrome"];

function findChromium() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of NAMES) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch {}
  }
  throw new Error(`no Chromium here; install the package chromium, or name it: CHROMIUM=/path`);
}

/** Runs a scenario in a browser of its own. Whatever it throws ends the process with a 1. */
export async function play(scenario) {
  const browser = await chromium.launch({ executablePath: findChromium(), args: ["--no-sandbox"] });
  try {
    await scenario(browser);
  } catch (error) {
    for (const [number, page] of browser
      .contexts()
      .flatMap((context) => context.pages())
      .entries()) {
      await shoot(page, `broken ${number}`); // how it looked when it went wrong
    }
    throw error;
  } finally {
    await browser.close();
  }
}

/** What the browser itself notes about calls that are refused or do not arrive; it is the page that must deal with them. */
const OF_THE_NETWORK = /^Failed to load resource|^WebSocket connection to/;

/** A new page of a new visitor, who notes whatever breaks the policy, is thrown and not caught, or logged as an error. */
export async function visit(browser, { url, scheme = "light", width = 1280, height = 760 }) {
  const context = await browser.newContext({
    baseURL: url,
    colorScheme: scheme,
    reducedMotion: "reduce",
    viewport: { width, height },
  });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.scheme = scheme;
  page.troubles = [];
  page.on("pageerror", (error) => page.troubles.push(`thrown: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() !== "error" || OF_THE_NETWORK.test(message.text())) return;
    page.troubles.push(`logged: ${message.text()}`);
  });
  await page.exposeFunction("noteViolation", (text) => page.troubles.push(`policy: ${text}`));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      window.noteViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`),
    );
  });
  return page;
}

/** Throws what axe finds on the page as it is now, from serious on; and what went wrong on it before. */
export async function check(page, where) {
  await page.waitForTimeout(150); // what changes its colour has it afterwards
  await shoot(page, where);
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
  const grave = found.violations.filter(({ impact }) => GRAVE.has(impact));
  const told = grave.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html} ${any[0]?.message ?? ""}`).join("\n  ")}`,
  );
  const troubles = [...page.troubles, ...told];
  if (troubles.length > 0) throw new Error(`on ${where}:\n${troubles.join("\n")}`);
}

/** A picture of the page, where SHOTS names a folder for them. */
export async function shoot(page, name) {
  if (!process.env.SHOTS) return;
  mkdirSync(process.env.SHOTS, { recursive: true });
  await page.screenshot({ path: `${process.env.SHOTS}/${name.replaceAll(" ", "-")}.png` });
}

/** A picture for the documentation, in light and dark, where PICTURES names a folder for them. */
export async function picture(page, name) {
  const folder = process.env.PICTURES;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  const session = await page.context().newCDPSession(page);
  const clip = { x: 0, y: 0, ...page.viewportSize(), scale: 1.5 }; // small writing stays legible
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(200);
    const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: 80, clip });
    writeFileSync(`${folder}/${name}-${colorScheme}.webp`, Buffer.from(data, "base64"));
  }
  await page.emulateMedia({ colorScheme: page.scheme });
}

/** Throws unless it holds. */
export function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

/** A network cable of one's own to a server, at `url`, that can be pulled: whatever goes through it breaks off. */
export async function cable(url) {
  const { hostname, port } = new URL(url);
  const ends = new Set();
  let pulled = false;
  const server = createServer((near) => {
    const far = connect(port, hostname);
    for (const [end, other] of [
      [near, far],
      [far, near],
    ]) {
      ends.add(end);
      end.on("error", () => undefined);
      end.on("close", () => {
        ends.delete(end);
        other.destroy();
      });
      end.pipe(other);
    }
    if (pulled) near.destroy();
  });
  return {
    url: await listening(server),
    pull() {
      pulled = true;
      for (const end of ends) end.destroy();
    },
    plugIn() {
      pulled = false;
    },
  };
}

/** A server of somebody else, who answers calls with `answer(path, body)`: a value, or pieces of text that come in time. */
export async function elsewhere(answer) {
  const server = createHttpServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    const given = answer(request.url, body);
    if (!given[Symbol.asyncIterator]) {
      response.setHeader("Content-Type", "application/json").end(JSON.stringify(given));
      return;
    }
    response.setHeader("Content-Type", "text/event-stream");
    for await (const piece of given) response.write(piece);
    response.end();
  });
  return listening(server);
}

/** Where the server listens, as long as the story lasts. */
async function listening(server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return `http://127.0.0.1:${server.address().port}`;
}

/** By keys, in what asks which one on the canvas. */
export async function choose(page, text) {
  const asks = page.getByRole("dialog").getByRole("combobox");
  await asks.waitFor();
  await page.waitForFunction((element) => element === document.activeElement, await asks.elementHandle());
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
  await asks.waitFor({ state: "detached" });
}

/** Waits until it holds. */
export async function until(holds, what) {
  const giveUpAt = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > giveUpAt) throw new Error(`in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Fills in the form that is on the page. */
export async function signIn(page, email = process.env.EMAIL) {
  await page.getByRole("textbox", { name: "Email" }).fill(email);
  await page.getByLabel("Password").first().fill(process.env.PASSWORD);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor({ state: "detached" });
}

/** A call of the API with a key, for what is no part of the story. */
export async function call(method, path, body) {
  const response = await fetch(process.env.URL + path, {
    method,
    headers: { Authorization: `Bearer ${process.env.KEY}`, "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  expect(response.ok, `${method} ${path} answered ${response.status}: ${response.ok ? "" : await response.text()}`);
  return response.status === 204 ? null : response.json();
}

/** Where something is, once it does not move any more. */
export async function atRest(page, what) {
  let box = await what.boundingBox();
  for (;;) {
    await page.waitForTimeout(100);
    const now = await what.boundingBox();
    if (now.x === box.x && now.y === box.y) return now;
    box = now;
  }
}
