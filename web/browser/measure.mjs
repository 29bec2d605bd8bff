/** Measures the bars of the editor (`python -m benchmarks editor`), and writes what it saw to the file OUT names. */
import { writeFileSync } from "node:fs";
import { call, play, signIn, until, visit } from "./stage.mjs";

const { URL: url, OUT, HUNDRED, FIVE_HUNDRED, ROUNDS } = process.env;
const rounds = Number(ROUNDS);
const MOVES = 150;
const EDITS = 40;
/** How the workflow of 500 nodes is looked at while one is dragged. */
const VIEWS = {
  "one, all in view": async () => undefined,
  "one, at full size": async (page) => {
    for (let steps = 0; steps < 9; steps += 1) await page.getByRole("button", { name: "Zoom in" }).click();
  },
  "all at once": (page) => page.keyboard.press("Control+a"),
};

await play(async (browser) => {
  const cookies = await signedIn(browser);
  const starts = [];
  for (let round = 0; round < rounds; round += 1) starts.push(await coldStart(browser, cookies));
  const drags = {};
  for (const [name, prepare] of Object.entries(VIEWS)) drags[name] = await dragged(browser, cookies, prepare);
  const edits = await seen(browser, cookies);
  writeFileSync(OUT, JSON.stringify({ starts, drags, edits }));
});

async function signedIn(browser) {
  const page = await visit(browser, { url });
  await page.goto("/workflows");
  await signIn(page);
  const { cookies } = await page.context().storageState();
  await page.context().close();
  return cookies;
}

async function open(browser, cookies, id, prepare = () => undefined) {
  const page = await visit(browser, { url });
  await page.context().addCookies(cookies);
  await prepare(page);
  await page.goto(`/workflows/${id}`);
  await page.locator(".react-flow__node").first().waitFor();
  return page;
}

// --- how soon the first node can be dragged, with nothing in the cache: in ms since the navigation

async function coldStart(browser, cookies) {
  const page = await open(browser, cookies, HUNDRED, (opened) => opened.addInitScript(dragAsSoonAsPossible));
  await page.waitForFunction(() => "draggedAt" in window);
  const at = await page.evaluate(() => window.draggedAt);
  await page.context().close();
  return at;
}

/** In the page: tries in each frame to drag the first node, and notes when one has moved. */
function dragAsSoonAsPossible() {
  const event = (type, x, y) =>
    new MouseEvent(type, { clientX: x, clientY: y, bubbles: true, cancelable: true, view: window, buttons: 1 });
  const look = () => {
    requestAnimationFrame(look);
    const node = document.querySelector(".react-flow__node");
    if (!node || "draggedAt" in window || getComputedStyle(node).visibility !== "visible") return;
    const { x, y } = node.firstElementChild.getBoundingClientRect(); // what is seen of it: React Flow hears of the drop
    const place = `${x} ${y}`;
    if (window.before !== undefined && window.before !== place) window.draggedAt = performance.now();
    window.before = place;
    node.dispatchEvent(event("mousedown", x + 60, y + 20));
    for (const distance of [10, 60]) window.dispatchEvent(event("mousemove", x + 60, y + 20 + distance));
  };
  requestAnimationFrame(look);
}

// --- what a drag costs the main thread, in a workflow of 500 nodes

async function dragged(browser, cookies, prepare) {
  const page = await open(browser, cookies, FIVE_HUNDRED);
  await page.getByRole("application").focus();
  await prepare(page);
  await page.waitForTimeout(1_000); // what opens has settled
  const [x, y] = await middleNode(page);
  await page.mouse.move(x, y);
  await page.mouse.down();
  const trace = await traced(browser, page, async () => {
    for (let move = 1; move <= MOVES; move += 1) {
      await page.mouse.move(x + move, y + 40 * Math.sin(move / 20));
      await page.waitForTimeout(12);
    }
  });
  await page.mouse.up();
  await page.context().close();
  return work(trace);
}

/** Where the node is that is nearest to the middle of the page. */
function middleNode(page) {
  return page.evaluate(() => {
    const middle = ({ x, y, width, height }) => [x + width / 2, y + height / 2];
    const far = ([x, y]) => Math.hypot(x - innerWidth / 2, y - innerHeight / 2);
    const nodes = [...document.querySelectorAll(".react-flow__node")];
    return nodes.map((node) => middle(node.getBoundingClientRect())).sort((a, b) => far(a) - far(b))[0];
  });
}

async function traced(browser, page, act) {
  const categories = ["devtools.timeline", "disabled-by-default-devtools.timeline"];
  await browser.startTracing(page, { categories });
  await act();
  return JSON.parse((await browser.stopTracing()).toString()).traceEvents;
}

/**
 * Of each frame with a move in it, how long the main thread of the page worked, and how long its tasks lasted by the clock,
 * in ms; and its longest task, by the clock.
 *
 * Work is processor time of the thread, and all the time that commits take, in which it waits for the page's own compositor.
 * By the clock a task also lasts while another process has the core: here two cores are shared by the browser's other
 * processes, two instances, nginx, PostgreSQL and Node, and tasks of 0.06 ms of work were seen to last 0.7. That is no work
 * of the page, and differs by a factor of two from one run to the next.
 */
function work(events) {
  const main = busiest(events);
  const here = events.filter(({ pid, tid }) => `${pid} ${tid}` === main).sort((a, b) => a.ts - b.ts);
  const tasks = here.filter(({ name, ph }) => ph === "X" && name === "RunTask");
  const moves = here.filter(({ name, args }) => name === "EventDispatch" && args.data?.type === "mousemove");
  const commits = here.filter(({ name, ph }) => ph === "X" && name === "Commit");
  const ends = commits.map(({ ts, dur }) => ts + dur);
  const within = (all, index) => all.filter(({ ts }) => ts >= (ends[index - 1] ?? 0) && ts < ends[index]);
  const sum = (all, time) => all.reduce((total, event) => total + time(event), 0) / 1_000;
  const clock = ({ dur }) => dur;
  const processor = ({ dur, tdur = dur }) => tdur;
  const waiting = ({ dur, tdur = dur }) => dur - tdur;
  const moved = [...ends.keys()].filter((index) => within(moves, index).length > 0);
  return {
    frames: moved.map((index) => sum(within(tasks, index), processor) + sum(within(commits, index), waiting)),
    elapsed: moved.map((index) => sum(within(tasks, index), clock)),
    longest: Math.max(...tasks.map(clock)) / 1_000,
  };
}

/** The main thread of the page that is in front: that of most tasks. */
function busiest(events) {
  const mains = events.filter(({ name, args }) => name === "thread_name" && args?.name === "CrRendererMain");
  const tasks = new Map(mains.map(({ pid, tid }) => [`${pid} ${tid}`, 0]));
  for (const { name, pid, tid } of events) {
    const thread = `${pid} ${tid}`;
    if (name === "RunTask" && tasks.has(thread)) tasks.set(thread, tasks.get(thread) + 1);
  }
  return [...tasks].sort(([, a], [, b]) => b - a)[0][0];
}

// --- how soon an edit is on the screen of a colleague, who is at another instance: in ms since the key was pressed

async function seen(browser, cookies) {
  const ada = await open(browser, cookies, HUNDRED);
  const bo = await open(browser, cookies, HUNDRED);
  await until(async () => {
    const { peers } = await call("GET", `/api/workflows/${HUNDRED}/presence`);
    const apart = new Set(peers.map(({ instance }) => instance)).size === 2;
    if (peers.length === 2 && !apart) await bo.reload();
    return peers.length === 2 && apart;
  }, "each is at an instance of its own");
  await bo.locator(".react-flow__node").first().waitFor();
  await ada.locator(".react-flow__node").first().click();
  await ada.evaluate(() => {
    addEventListener("keydown", () => window.presses.push(performance.timeOrigin + performance.now()), true);
    window.presses = [];
  });
  await bo.evaluate(() => {
    window.sights = [];
    const note = () => requestAnimationFrame(() => window.sights.push(performance.timeOrigin + performance.now()));
    new MutationObserver(note).observe(document.querySelector(".react-flow__node > div"), {
      attributeFilter: ["data-disabled"],
    });
  });
  const latencies = [];
  for (let edit = 0; edit < EDITS; edit += 1) {
    await ada.keyboard.press("d");
    await bo.waitForFunction((count) => window.sights.length > count, edit);
    const [pressed, sighted] = [
      await ada.evaluate(() => window.presses.at(-1)),
      await bo.evaluate(() => window.sights.at(-1)),
    ];
    latencies.push(sighted - pressed);
  }
  return latencies;
}
