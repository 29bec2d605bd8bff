import { expect, test } from "vitest";
import { ApiError } from "../../api/errors";
import { read } from "./importing";

const file = (name: string, text: string) => new File([text], name);

test("a YAML file is its name, its description and a definition", async () => {
  const text = "name: Orders\ndescription: All of them\nnodes:\n  - {id: a, type: noop, config: {on: yes}}\n";
  expect(await read(file("orders.yaml", text))).toEqual({
    name: "Orders",
    description: "All of them",
    definition: { nodes: [{ id: "a", type: "noop", config: { on: "yes" } }] },
  });
});

test("a file without a name is called as the file is", async () => {
  expect((await read(file("nightly report.json", '{"nodes": []}'))).name).toBe("nightly report");
});

test.each([
  ["broken.json", "{"],
  ["broken.yml", "a: [b"],
  ["list.json", "[]"],
  ["empty.yaml", ""],
])("%s is refused", async (name, text) => {
  await expect(read(file(name, text))).rejects.toThrow(ApiError);
});
