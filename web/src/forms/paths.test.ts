import { expect, test } from "vitest";
import { pathText, problemsUnder, setAt } from "./paths";

test("a path is written as the API writes it", () => {
  expect(pathText(["conditions", 0, "expression"])).toBe("conditions[0].expression");
});

test("a value is set without touching what is beside it, or the value as it was", () => {
  const before = { a: { b: 1, c: 2 }, list: ["x", "y"] };
  expect(setAt(before, ["a", "b"], 5)).toEqual({ a: { b: 5, c: 2 }, list: ["x", "y"] });
  expect(setAt(before, ["list", 1], "z")).toEqual({ a: { b: 1, c: 2 }, list: ["x", "z"] });
  expect(setAt(before, ["new", "deep"], 1)).toEqual({ ...before, new: { deep: 1 } });
  expect(before).toEqual({ a: { b: 1, c: 2 }, list: ["x", "y"] });
});

test("undefined takes away a key, or an entry of a list", () => {
  expect(setAt({ a: 1, b: 2 }, ["a"], undefined)).toEqual({ b: 2 });
  expect(setAt({ list: ["x", "y"] }, ["list", 0], undefined)).toEqual({ list: ["y"] });
});

test("problems are found by their place within the part that a form shows", () => {
  const details = [
    { field: "config.hosts[0]", problem: "no host" },
    { field: "config[0]", problem: "odd" },
    { field: "configuration.x", problem: "not ours" },
    { field: "name", problem: "missing" },
  ];
  expect([...problemsUnder("config", details)]).toEqual([
    ["hosts[0]", "no host"],
    ["[0]", "odd"],
  ]);
});
