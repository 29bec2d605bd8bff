/**
 * Two people, each at another instance behind nginx, build a workflow together: from nothing to the page of its run. One
 * loses the network on the way, changes the same as the other, reloads the page, and comes back.
 */
import {
  atRest,
  cable,
  call,
  check,
  choose,
  elsewhere,
  expect,
  picture,
  play,
  signIn,
  until,
  visit,
} from "./stage.mjs";

const { URL: url, BO: bosEmail } = process.env;
const ADA = "Ada Lovelace";
const BO = "Bo Sandberg";
const CUSTOMER = { name: "Grace Hopper", plan: "premium", since: 1952 };
const PROMPT = "Answer the ticket of {{ input.body.name }}.";

await play(async (browser) => {
  const model = slowModel();
  const service = await elsewhere((path) => (path.startsWith("/v1") ? model.answer() : CUSTOMER));
  const { id } = await call("POST", "/api/workflows", { name: "Support inbox" });
  const network = await cable(url);
  const ada = await enter(browser, id, { url });
  const bo = await enter(browser, id, { url: network.url, email: bosEmail, scheme: "dark" });
  await atTwoInstances(id, bo);

  await build(id, ada, bo, service);
  await point(id, ada, bo);
  await write(id, ada, bo);
  await loseTheNetwork(id, ada, bo, network);
  await undo(id, ada, bo);
  await bringBack(id, ada, bo);
  await run(ada, bo, model);
  await lookBack(ada, bo);
});

/** What Bo has from elsewhere and pastes. */
function piece(service) {
  return {
    nodes: [
      step("mail", "webhook", "Mail from the website", {}),
      {
        ...step("customer", "http_request", "Look up the customer", { url: `${service}/customers/7` }),
        on_error: "branch",
      },
      step("nobody", "set", "Nobody we know", { fields: { customer: "unknown" } }),
      step("answer", "llm", "Draft an answer", {
        baseUrl: `${service}/v1`,
        model: "parrot",
        system: "You work at the support desk.",
        prompt: PROMPT,
      }),
      step("plan", "if", "Premium plan?", {
        conditions: [{ expression: "steps.customer.output.body.plan == 'premium'" }],
      }),
      step("manager", "log", "Tell the account manager", { message: "{{ steps.answer.output.text }}" }),
      step("queue", "set", "First line", { include: "none", fields: { queue: "first line" } }),
      step("filed", "merge", "File it", {}),
    ],
    edges: [
      { source: "mail", target: "customer" },
      { source: "customer", source_handle: "error", target: "nobody" },
      { source: "customer", target: "answer" },
      { source: "answer", target: "plan" },
      { source: "plan", source_handle: "true", target: "manager" },
      { source: "plan", source_handle: "false", target: "queue" },
      { source: "manager", target: "filed" },
      { source: "queue", target: "filed" },
    ],
  };
}

function step(id, type, name, config) {
  return { id, type, name, config, position: { x: 0, y: 0 } };
}

/** Ada begins, Bo pastes, Ada connects, and puts all in order. */
async function build(id, ada, bo, service) {
  await ada.keyboard.press("Tab");
  await choose(ada, "manual");
  await node(bo, "manual_trigger").getByText(ADA).waitFor(); // she has it selected
  await rename(ada, "A ticket comes in");
  await node(bo, "manual_trigger").getByText("A ticket comes in").waitFor();

  await bo.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await bo.evaluate((text) => navigator.clipboard.writeText(text), JSON.stringify(piece(service)));
  await bo.getByRole("application").focus();
  await bo.keyboard.press("Control+v");
  await node(ada, "customer").getByText(BO).waitFor();
  await node(ada, "manual_trigger").click();
  await ada.keyboard.press("c");
  await choose(ada, "customer");
  await ada.keyboard.press("l");
  await bo.waitForFunction(() => document.querySelectorAll(".react-flow__edge").length === 9);
  await until(
    async () => new Set((await draft(id)).nodes.map(({ position }) => position.x)).size === 6,
    "it is in order",
  );
  await bo.keyboard.press("1");
  const { nodes, edges } = await draft(id);
  expect(nodes.length === 9 && edges.length === 9, "all of it is kept");
}

/** Each sees where the other points and what the other has selected; what is dragged moves at both. */
async function point(id, ada, bo) {
  await atRest(bo, node(bo, "plan"));
  await node(bo, "plan").click();
  await node(ada, "plan").getByText(BO).waitFor();
  await node(ada, "customer").getByText(BO).waitFor({ state: "detached" }); // one of what he had pasted is what he has now
  await node(ada, "answer").click();
  await node(bo, "answer").getByText(ADA).waitFor();
  await pointsAt(ada, BO, "plan");
  await pointsAt(bo, ADA, "answer");
  await check(ada, "two people");
  const away = await node(bo, "queue").boundingBox();
  await bo.mouse.move(away.x + away.width * 0.7, away.y + away.height + 30);
  await picture(ada, "canvas");

  const from = await node(bo, "queue").boundingBox();
  const held = await node(ada, "queue").boundingBox();
  const y = (await placeOf(id, "queue")).y;
  const [left, top] = [held.x + held.width / 3, held.y + held.height / 2];
  await ada.mouse.move(left, top);
  await ada.mouse.down();
  await ada.mouse.move(left, top + 40, { steps: 4 });
  await ada.mouse.move(left, top + 100, { steps: 4 });
  await bo.waitForFunction(
    (before) => document.querySelector("[data-testid=rf__node-queue]").getBoundingClientRect().y > before + 40,
    from.y,
  );
  expect((await placeOf(id, "queue")).y === y, "while it is held nothing is edited");
  await ada.mouse.up();
  await saved(ada);
  expect((await placeOf(id, "queue")).y > y + 40, "the drop is an edit");
}

/** Both write in one prompt at once. */
async function write(id, ada, bo) {
  for (const page of [ada, bo]) {
    await node(page, "answer").dblclick();
    await prompt(page).click();
  }
  await ada.keyboard.press("Control+Home");
  await bo.keyboard.press("Control+End");
  await Promise.all([
    ada.keyboard.type("Be kind. ", { delay: 20 }),
    bo.keyboard.type(" Thank her for her patience.", { delay: 15 }),
  ]);
  await ada.getByText("is typing here").waitFor();
  await agree(id, ada, bo, `Be kind. ${PROMPT} Thank her for her patience.`);
  await check(ada, "panel with two people");
  await picture(ada, "panel");
}

/** Bo goes on without the network, while Ada changes the same text and deletes what he changes; then he reloads. */
async function loseTheNetwork(id, ada, bo, network) {
  network.pull();
  await bo.getByTestId("saved").getByText("Offline", { exact: true }).waitFor();
  await ada.getByTitle(`${BO} is here`).waitFor({ state: "detached" });
  await prompt(bo).click();
  await bo.keyboard.press("Control+End");
  await bo.keyboard.type(" Be brief.");
  await bo.getByRole("button", { name: "Close the panel" }).click();
  await node(bo, "manager").click();
  await rename(bo, "Call the account manager");
  await node(bo, "queue").click();
  await rename(bo, "Second line");
  await bo
    .getByTestId("saved")
    .getByText(/^Offline, \d+ changes here$/)
    .waitFor();
  await check(bo, "offline");

  await prompt(ada).click();
  await ada.keyboard.press("Control+Home");
  await ada.keyboard.type("Please. ");
  await ada.getByRole("button", { name: "Close the panel" }).click();
  await node(ada, "queue").click();
  await ada.keyboard.press("Delete");
  await saved(ada);

  await bo.reload().catch(() => undefined);
  await bo.waitForURL("chrome-error://**"); // there is nobody to load it from
  network.plugIn();
  await bo.goto(`/workflows/${id}`);
  await saved(bo);
  await bo.getByText(`“queue” was deleted by ${ADA}`).waitFor();
  await check(bo, "back again");
  await bo.getByRole("button", { name: "Restore" }).click();
  await node(ada, "queue").waitFor();
  await node(ada, "manager").getByText("Call the account manager").waitFor();
  for (const page of [ada, bo]) await node(page, "answer").dblclick();
  await agree(id, ada, bo, `Please. Be kind. ${PROMPT} Thank her for her patience. Be brief.`);
  for (const page of [ada, bo]) await page.getByRole("button", { name: "Close the panel" }).click();
  expect((await draft(id)).edges.length === 9, "what was deleted is back with its wires");
  await atTwoInstances(id, bo);
}

/** Undo takes back what one did oneself, and asks when somebody has built on it. */
async function undo(id, ada, bo) {
  await node(ada, "manager").click();
  await ada.keyboard.press("d");
  await node(bo, "manager").locator("[data-disabled]").waitFor();
  await node(bo, "queue").click();
  await rename(bo, "To the first line");
  await node(ada, "queue").getByText("To the first line").waitFor();
  await ada.keyboard.press("Control+z");
  await node(bo, "manager").locator("[data-disabled]").waitFor({ state: "detached" });
  expect((await named(id, "queue")) === "To the first line", "what Bo did stays");

  await rename(ada, "Call somebody");
  await node(bo, "manager").getByText("Call somebody").waitFor();
  await node(bo, "manager").click();
  await rename(bo, "Ring somebody up");
  await node(ada, "manager").getByText("Ring somebody up").waitFor();
  await ada.keyboard.press("Control+z");
  const question = ada.getByRole("dialog", { name: "Others have built on this" });
  await question.getByText(BO).waitFor();
  await check(ada, "undo asks");
  await question.getByRole("button", { name: "Leave it" }).click();
  await question.waitFor({ state: "detached" });
  expect((await named(id, "manager")) === "Ring somebody up", "it is left");
  await ada.keyboard.press("Control+z");
  await question.getByRole("button", { name: "Undo anyway" }).click();
  await node(bo, "manager").getByText("Call the account manager").waitFor();
}

/** What Bo deletes while Ada has it open comes back with its wires. */
async function bringBack(id, ada, bo) {
  await ada.keyboard.press("Enter");
  await ada.getByRole("complementary", { name: "Node Call the account manager" }).waitFor();
  await bo.getByRole("application").focus();
  await bo.keyboard.press("Delete");
  await ada.getByText("“Call the account manager” was deleted").waitFor();
  await ada.getByText(`By ${BO}`).waitFor();
  await check(ada, "deleted");
  await ada.getByRole("button", { name: "Restore" }).click();
  await node(bo, "manager").waitFor();
  await saved(ada);
  await ada.getByRole("button", { name: "Close the panel" }).click();
  const { nodes, edges } = await draft(id);
  expect(nodes.length === 9 && edges.length === 9, "it is back as it was");
}

/** Ada deploys and runs it; both watch how it goes, and Ada opens the page of the run. */
async function run(ada, bo, model) {
  await ada.getByRole("button", { name: "Deploy" }).click();
  await ada.getByRole("textbox", { name: "Deploy the draft" }).fill("First answers");
  await ada.getByRole("dialog").getByRole("button", { name: "Deploy" }).click();
  await ada.getByText("deployed", { exact: true }).waitFor();
  await bo.getByText(`${ADA} deployed version 1.`).waitFor();
  await check(ada, "deployed");
  await ada.keyboard.press("Escape");
  await ada.getByRole("dialog").waitFor({ state: "detached" });

  await node(ada, "answer").click();
  await ada.keyboard.press("1");
  await ada.keyboard.press("Control+Enter");
  await bo.getByRole("button", { name: "Watch it" }).click();
  for (const page of [ada, bo]) {
    await node(page, "customer").locator("[data-status=completed]").waitFor();
    await node(page, "answer").locator("[data-status=running]").waitFor();
  }
  await ada.getByRole("alert").getByRole("button", { name: "Close" }).click();
  model.begin();
  for (const page of [ada, bo]) await node(page, "answer").getByText("Dear Grace").waitFor();
  await picture(ada, "live-run");
  model.goOn();
  for (const page of [ada, bo]) {
    await node(page, "manager").locator("[data-status=completed]").waitFor();
    expect((await node(page, "queue").locator("[data-status]").count()) === 0, "the other way was not taken");
    await page.getByRole("status", { name: "Run" }).getByText("Completed").waitFor();
    await check(page, "ran together");
  }
  await ada.getByRole("link", { name: "Open run" }).click();
  await ada.waitForURL("**/runs/*");
  await ada.getByRole("button", { name: /Draft an answer/ }).click();
  await ada
    .getByRole("region", { name: /^Output of/ })
    .getByText("Dear Grace")
    .first()
    .waitFor();
  for (const name of ["Look up the customer", "Premium plan?", "Call the account manager"]) {
    await ada.getByRole("button", { name: new RegExp(name) }).waitFor();
  }
  await ada.mouse.move(640, 20);
  await check(ada, "run");
  await picture(ada, "run");
}

/** The history says who did what; the list of workflows, that it has run. */
async function lookBack(ada, bo) {
  await bo.getByRole("button", { name: "History" }).click();
  await bo.getByText("Deleted Call the account manager").waitFor();
  await check(bo, "history");
  await picture(bo, "history");
  if (process.env.PICTURES) await fillTheList();
  await ada.goto("/workflows");
  await ada.getByRole("link", { name: "Support inbox" }).first().waitFor();
  await check(ada, "list");
  await picture(ada, "workflows");
}

/** For the picture of a list: workflows that are deployed, have run, and run next. */
async function fillTheList() {
  const others = [
    ["Nightly report", "Turnover by country, sent to the board", { type: "schedule", config: { cron: "0 6 * * 1-5" } }],
    ["Sync new orders", "From the shop into the warehouse", { type: "schedule", config: { cron: "*/15 * * * *" } }],
    ["Refunds", "Checks what comes back, and pays", { type: "webhook", config: {} }],
    ["Onboard a customer", "Account, welcome mail, first call", { type: "webhook", config: {} }],
  ];
  for (const [number, [name, description, trigger]] of others.entries()) {
    const nodes = [
      { id: "trigger", ...trigger },
      { id: "by_hand", type: "manual_trigger" },
      step("look", "if", "Is all well?", { conditions: [{ expression: "input.fine" }] }),
      step("alarm", "stop", "Say what is wrong", { status: "error", message: "the stock is empty" }),
    ];
    const edges = [
      { source: "trigger", target: "look" },
      { source: "by_hand", target: "look" },
      { source: "look", source_handle: "false", target: "alarm" },
    ];
    const { id } = await call("POST", "/api/workflows", { name, description, definition: { nodes, edges } });
    await call("POST", `/api/workflows/${id}/versions`, { name: "1" });
    await call("POST", `/api/workflows/${id}/versions/1/deploy`);
    for (let run = 0; run < 12 - number; run += 1) {
      const input = { fine: (run * 7 + number) % 9 !== 0 };
      await call("POST", `/api/workflows/${id}/execute`, { entry: "by_hand", input, wait_seconds: 10 });
    }
  }
}

// --- what the parts above have in common

/** Says half of its answer when told to begin, and the rest when told to go on. */
function slowModel() {
  const words = "Dear Grace, thank you for your patience. Your refund is on its way and arrives within two days.".split(
    " ",
  );
  const said = (content) =>
    `data: ${JSON.stringify({ model: "parrot", choices: [{ index: 0, delta: { content } }] })}\n\n`;
  const usage = { prompt_tokens: 31, completion_tokens: words.length, total_tokens: 31 + words.length };
  const last = { model: "parrot", choices: [{ index: 0, delta: {}, finish_reason: "stop" }], usage };
  const [begun, begin] = signal();
  const [goneOn, goOn] = signal();
  async function* answer() {
    await begun;
    for (const [number, word] of words.entries()) {
      if (number === 9) await goneOn;
      yield said(`${word} `);
    }
    yield `data: ${JSON.stringify(last)}\n\ndata: [DONE]\n\n`;
  }
  return { answer, begin, goOn };
}

function signal() {
  let give;
  const given = new Promise((resolve) => {
    give = resolve;
  });
  return [given, () => give()];
}

async function enter(browser, id, { url, email, scheme }) {
  const page = await visit(browser, { url, scheme });
  await page.goto(`/workflows/${id}`);
  await signIn(page, email);
  await page.getByText("Nothing here yet").waitFor();
  return page;
}

/** Waits until the two are shown, and comes again as long as it is at one instance. */
async function atTwoInstances(id, page) {
  await until(async () => {
    const { peers } = await call("GET", `/api/workflows/${id}/presence`);
    const apart = new Set(peers.map(({ instance }) => instance)).size === 2;
    if (peers.length === 2 && !apart) await page.reload();
    return peers.length === 2 && apart;
  }, "each is at an instance of its own");
}

function node(page, name) {
  return page.getByTestId(`rf__node-${name}`);
}

function prompt(page) {
  return page.getByRole("textbox", { name: "Prompt" });
}

/** The selected node. */
async function rename(page, name) {
  await page.keyboard.press("F2");
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
}

async function saved(page) {
  await page.getByTestId("saved").getByText("Saved", { exact: true }).waitFor();
}

/** Both have this text, and so has the server. */
async function agree(id, ada, bo, text) {
  for (const page of [ada, bo]) await prompt(page).getByText(text, { exact: true }).waitFor();
  for (const page of [ada, bo]) await saved(page);
  const { prompt: kept } = (await draft(id)).nodes.find((each) => each.id === "answer").config;
  expect(kept === text, `the server has “${kept}”`);
}

/** The cursor of somebody is shown over this node. */
async function pointsAt(page, who, name) {
  const cursor = page.locator(".react-flow__viewport-portal").getByText(who);
  await cursor.waitFor();
  const box = await node(page, name).boundingBox();
  const { x, y } = await atRest(page, cursor);
  const [over, down] = [x - box.x, y - box.y];
  expect(
    over > 0 && over < box.width && down > 0 && down < box.height + 16,
    `${who} points at ${name}: ${over}, ${down}`,
  );
}

async function draft(id) {
  return (await call("GET", `/api/workflows/${id}/draft`)).definition;
}

async function placeOf(id, name) {
  return (await draft(id)).nodes.find((each) => each.id === name).position;
}

async function named(id, name) {
  return (await draft(id)).nodes.find((each) => each.id === name).name;
}
