/** A workflow of many nodes, seen from afar and from near: what is dragged, and what is drawn at each distance. */
import { atRest, call, check, expect, play, signIn, until, visit } from "./stage.mjs";

const { URL: url } = process.env;
const ROWS = 12;
const COLUMNS = 18;

await play(async (browser) => {
  const { id } = await call("POST", "/api/workflows", { name: "Many nodes", definition: grid() });
  const page = await visit(browser, { url });
  await page.goto(`/workflows/${id}`);
  await signIn(page);
  const node = (name) => page.getByTestId(`rf__node-${name}`);
  const wires = page.getByRole("img", { name: `${ROWS * (COLUMNS - 1)} wires` });

  // From afar all of it is one picture, without handles; nodes can be found and dragged all the same.
  await wires.waitFor();
  await until(async () => (await page.locator(".react-flow__handle").count()) === 0, "no handles are drawn");
  expect((await page.locator(".react-flow__edge").count()) === 0, "wires are drawn all together");
  expect((await node("n_5_8").textContent()).includes("Step 5 8"), "who listens hears the name");
  await check(page, "many from afar");
  const before = await atRest(page, node("n_5_8"));
  const to = await dragged(page, node("n_5_8"), 60, 45, async () => {
    expect((await page.locator("svg[data-moving]").count()) === 2, "it is drawn apart, with its wires");
  });
  await page.getByTestId("saved").getByText("Saved", { exact: true }).waitFor();
  const after = await node("n_5_8").boundingBox();
  const by = [after.x - before.x, after.y - before.y];
  expect(by[0] > 40 && by[0] < 66 && by[1] > 28 && by[1] < 51, `it is where it was dropped: ${by}`);
  expect((await page.locator("svg[data-moving]").count()) === 0, "nothing is drawn as moving any more");
  const moved = (await call("GET", `/api/workflows/${id}/draft`)).definition.nodes.find((each) => each.id === "n_5_8");
  expect(moved.position.x > 8 * 300 && moved.position.y > 5 * 120, "the drop is an edit");

  // From near there are handles and single wires again, and these follow what is dragged.
  await page.mouse.move(to.x, to.y);
  await page.keyboard.down("Control");
  for (let steps = 0; steps < 6; steps += 1) await page.mouse.wheel(0, -240);
  await page.keyboard.up("Control");
  await page.locator(".react-flow__edge").first().waitFor();
  await wires.waitFor({ state: "detached" });
  const wire = page
    .getByTestId(`rf__edge-${await edgeInto(id, "n_5_8")}`)
    .locator("path")
    .first();
  const [resting, path] = [await node("n_5_8").locator("> div").boundingBox(), await wire.getAttribute("d")];
  await dragged(page, node("n_5_8"), 90, 60, async () => {
    const now = await node("n_5_8").locator("> div").boundingBox();
    expect(now.x > resting.x + 40, "it follows the pointer");
    expect((await wire.getAttribute("d")) !== path, "its wire follows it");
  });
  await page.getByTestId("saved").getByText("Saved", { exact: true }).waitFor();
  expect((await node("n_5_8").locator("> div").boundingBox()).x > resting.x + 40, "it stays where it was dropped");
  expect((await wire.getAttribute("d")) !== path, "its wire stays with it");
  await check(page, "many from near");
});

/** Rows of nodes, each connected to the next. */
function grid() {
  const places = Array.from({ length: ROWS * COLUMNS }, (_, index) => [Math.floor(index / COLUMNS), index % COLUMNS]);
  const nodes = places.map(([row, column]) => ({
    id: `n_${row}_${column}`,
    type: column % 3 ? "log" : "noop",
    name: `Step ${row} ${column}`,
    position: { x: column * 300, y: row * 120 },
    config: column % 3 ? { message: "a line" } : {},
  }));
  const edges = places.filter(([, column]) => column > 0);
  return {
    nodes,
    edges: edges.map(([row, column]) => ({ source: `n_${row}_${column - 1}`, target: `n_${row}_${column}` })),
  };
}

async function edgeInto(id, target) {
  const { definition } = await call("GET", `/api/workflows/${id}/draft`);
  return definition.edges.find((edge) => edge.target === target).id;
}

/** Drags the middle of something, with a look at it on the way. Answers where the pointer is then. */
async function dragged(page, what, by, down, look) {
  const { x, y, width, height } = await what.boundingBox();
  const [fromX, fromY] = [x + width / 2, y + height / 2];
  await page.mouse.move(fromX, fromY);
  await page.mouse.down();
  await page.mouse.move(fromX + by, fromY + down, { steps: 6 });
  await look();
  await page.mouse.up();
  return { x: fromX + by, y: fromY + down };
}
