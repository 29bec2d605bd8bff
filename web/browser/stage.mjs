/** A browser for the scenarios beside this file: Debian's Chromium, driven by playwright-core. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
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

/** A new page of a new visitor, who notes whatever breaks the policy or is thrown and not caught. */
export async function visit(browser, { url, scheme = "light", width = 1360, height = 860 }) {
  const context = await browser.newContext({ baseURL: url, colorScheme: scheme, viewport: { width, height } });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.troubles = [];
  page.on("pageerror", (error) => page.troubles.push(`thrown: ${error.message}`));
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
  await page.waitForTimeout(250); // what fades in has its colours afterwards
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

/** Throws unless it holds. */
export function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

/** Fills in the form that is on the page. */
export async function signIn(page) {
  await page.getByRole("textbox", { name: "Email" }).fill(process.env.EMAIL);
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
