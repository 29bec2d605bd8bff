import { expect, test } from "vitest";
import { asJson, isWritten } from "./TextOrJson";

test("a text is edited as text where one is wanted, and anything else as JSON", () => {
  const template = { "x-widget": "template" };
  expect(isWritten(template, "Hello")).toBe(true);
  expect(isWritten(template, undefined)).toBe(true);
  expect(isWritten(template, { a: 1 })).toBe(false);
  expect(isWritten({}, "Hello")).toBe(false);
});

test("switching to JSON loses nothing that was written", () => {
  expect(asJson('{"a": 1}')).toEqual({ a: 1 });
  expect(asJson("Hello")).toEqual({ text: "Hello" });
  expect(asJson(undefined)).toEqual({});
});
