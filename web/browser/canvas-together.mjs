/** Two people in one workflow: each sees what the other does, they write in one text, and what one deletes comes back. */
import { call, check, expect, play, signIn, visit } from "./stage.mjs";

const { URL: url } = process.env;

await play(async (browser) => {
  const definition = {
    nodes: [
      { id: "start", type: "manual_trigger", name: "Start", position: { x: 0, y: 0 } },
      { id: "say", type: "log", name: "Say", position: { x: 320, y: 0 }, config: { message: "Hello" } },
    ],
    edges: [{ source: "start", target: "say" }],
  };
  const { id } = await call("POST", "/api/workflows", { name: "Together", definition });
  const [ada, bo] = await Promise.all([enter(browser, id), enter(browser, id)]);
  await ada.getByTitle("is here").first().waitFor();

  // What one drags moves at the other's while it is held, and stays where it is dropped.
  const before = await node(bo, "say").boundingBox();
  const box = await node(ada, "say").boundingBox();
  await ada.mouse.move(box.x + 60, box.y + 30);
  await ada.mouse.down();
  await ada.mouse.move(box.x + 60, box.y + 90, { steps: 6 });
  await ada.mouse.move(box.x + 60, box.y + 170, { steps: 6 });
  await bo.waitForFunction(
    (top) => document.querySelector("[data-testid=rf__node-say]").getBoundingClientRect().y > top + 60,
    before.y,
  );
  expect((await place(id)).y === 0, "while it is held nothing is edited");
  await ada.mouse.up();
  await ada.getByTestId("saved").getByText("Saved", { exact: true }).waitFor();
  expect((await place(id)).y > 60, "the drop is an edit");

  // Both write in one text.
  for (const page of [ada, bo]) {
    await node(page, "say").dblclick();
    await page.getByRole("textbox", { name: "Message" }).click();
  }
  await ada.keyboard.press("Control+Home");
  await bo.keyboard.press("Control+End");
  await Promise.all([ada.keyboard.type("Well. ", { delay: 20 }), bo.keyboard.type(", everybody", { delay: 20 })]);
  for (const page of [ada, bo]) {
    await page.getByRole("textbox", { name: "Message" }).getByText("Well. Hello, everybody").waitFor();
  }
  await ada.getByText("is typing here").waitFor();
  await check(ada, "together");

  // What one deletes is told to who has it open, and comes back with its wires.
  await bo.getByRole("button", { name: "Close the panel" }).click();
  await bo.keyboard.press("Delete");
  await ada.getByText("“say” was deleted").waitFor();
  await ada.getByRole("button", { name: "Restore" }).click();
  await node(bo, "say").waitFor();
  await ada.getByTestId("saved").getByText("Saved", { exact: true }).waitFor();
  const back = (await call("GET", `/api/workflows/${id}/draft`)).definition;
  expect(back.edges.length === 1 && back.nodes.length === 2, "it is back as it was");

  await ada.getByRole("button", { name: "History" }).click();
  await ada.getByText("Deleted say").waitFor();
  await check(ada, "history");
});

async function enter(browser, id) {
  const page = await visit(browser, { url });
  await page.goto(`/workflows/${id}`);
  await signIn(page);
  await node(page, "say").waitFor();
  return page;
}

function node(page, name) {
  return page.getByTestId(`rf__node-${name}`);
}

async function place(id) {
  const { definition } = await call("GET", `/api/workflows/${id}/draft`);
  return definition.nodes.find((each) => each.id === "say").position;
}
