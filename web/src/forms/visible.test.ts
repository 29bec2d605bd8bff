import { expect, test } from "vitest";
import { isVisible } from "./visible";

const FIELDS: Record<string, unknown> = { auth: "hmac", preset: "generic", deep: true, size: 3 };
const at = (name: string) => FIELDS[name];

test.each([
  [undefined, true],
  ["auth == 'hmac'", true],
  ["auth != 'hmac'", false],
  ["auth == 'hmac' && preset == 'github'", false],
  ["auth == 'hmac' and preset == 'generic'", true],
  ["auth == 'none' || preset == 'generic'", true],
  ["auth == 'none' || auth == 'basic'", false],
  ["auth == 'none' || auth == 'hmac' && preset == 'generic'", true],
  ["deep == true", true],
  ["size == 3", true],
  ["size == 4", false],
  ["missing == ''", false],
  ["auth == 'this or that && more'", false],
  ["len(auth) > 3", true],
  ["auth == 'none' || len(auth) > 3", true],
  ["auth == 'none' && len(auth) > 3", false],
])("by %s, shown is %s", (condition, shown) => {
  expect(isVisible(condition, at)).toBe(shown);
});
