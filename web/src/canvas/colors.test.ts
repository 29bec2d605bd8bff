import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { COLORS, colorOf } from "./colors";

test("the colours are those that the server gives to who is in a room", () => {
  const server = readFileSync("../melagent/domain/seats.py", "utf8");
  expect(server.match(/#[0-9a-f]{6}/g)).toEqual(COLORS);
});

test("a person has the colour that the server reckons", () => {
  // tests/realtime/test_seats.py expects the same
  expect(["ada", "Grüße"].map(colorOf)).toEqual(["#c92a2a", "#087f5b"]);
});
