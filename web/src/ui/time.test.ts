import { expect, test } from "vitest";
import { duration, secondsBetween, timeAgo } from "./time";

const NOW = Date.parse("2026-11-26T12:00:00Z");

test.each([
  ["2026-11-26T11:59:57Z", "just now"],
  ["2026-11-26T12:00:03Z", "now"],
  ["2026-11-26T11:59:30Z", "30 seconds ago"],
  ["2026-11-26T11:57:00Z", "3 minutes ago"],
  ["2026-11-26T14:00:00Z", "in 2 hours"],
  ["2026-11-25T12:00:00Z", "yesterday"],
])("%s is %s", (moment, text) => {
  expect(timeAgo(moment, NOW)).toBe(text);
});

test.each([
  [0.0284, "28 ms"],
  [3.21, "3.2 s"],
  [42, "42 s"],
  [200, "3 min 20 s"],
  [7260, "2 h 1 min"],
  [90_000, "1 d 1 h"],
])("%d seconds are %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test("what has not ended lasts until now, and nothing lasts less than no time", () => {
  expect(secondsBetween("2026-11-26T11:59:00Z", null, NOW)).toBe(60);
  expect(secondsBetween("2026-11-26T12:01:00Z", null, NOW)).toBe(0);
});
