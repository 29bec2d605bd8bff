import { describe, expect, test } from "vitest";
import { fits, kindOf, labelOf, resolve, type Schema } from "./schema";

const ROOT: Schema = { $defs: { Prices: { type: "object", properties: { input: { type: "number" } } } } };

describe("a schema", () => {
  test("that may be null is that of the value, with what stands beside it", () => {
    const field: Schema = { anyOf: [{ type: "string", maxLength: 5 }, { type: "null" }], description: "Why" };
    expect(resolve(field, ROOT)).toEqual({
      schema: { type: "string", maxLength: 5, description: "Why" },
      nullable: true,
    });
  });

  test("is followed through references, also within alternatives", () => {
    const field: Schema = { anyOf: [{ $ref: "#/$defs/Prices" }, { type: "null" }], "x-group": "Advanced" };
    const { schema, nullable } = resolve(field, ROOT);
    expect(kindOf(schema)).toBe("object");
    expect(schema["x-group"]).toBe("Advanced");
    expect(nullable).toBe(true);
  });

  test("with several alternatives is any value", () => {
    const { schema, nullable } = resolve({ anyOf: [{ type: "number" }, { type: "string" }, { type: "null" }] }, ROOT);
    expect(kindOf(schema)).toBe("any");
    expect(nullable).toBe(true);
  });

  test.each<[Schema, string]>([
    [{ type: "string", enum: ["a", "b"] }, "choice"],
    [{ type: "string", format: "password", "x-secret": true }, "secret"],
    [{ type: "string", maxLength: 200 }, "text"],
    [{ type: "string" }, "long-text"],
    [{ type: "string", maxLength: 100, "x-widget": "template" }, "long-text"],
    [{ type: "string", format: "uuid", "x-widget": "connection" }, "connection"],
    [{ type: "array", items: { type: "string" } }, "list"],
    [{ type: "array", items: {} }, "any"],
    [{ type: "object", additionalProperties: { type: "string" } }, "map"],
    [{ type: "object", additionalProperties: true, "x-widget": "key-value" }, "map"],
    [{ type: "object", additionalProperties: true }, "any"],
    [{}, "any"],
  ])("%o is edited as %s", (schema, kind) => {
    expect(kindOf(schema)).toBe(kind);
  });
});

test("a value that a control cannot show does not fit it", () => {
  expect(fits("number", "{{ input.count }}")).toBe(false);
  expect(fits("number", 3)).toBe(true);
  expect(fits("list", "{{ input.items }}")).toBe(false);
  expect(fits("boolean", undefined)).toBe(true);
  expect(fits("map", [])).toBe(false);
});

test.each([
  ["followRedirects", "Followredirects", "Follow redirects"],
  ["verifySSL", "Verify SSL", "Verify SSL"],
  ["base_url", "Base Url", "Base URL"],
  ["api_key", "Api Key", "API key"],
  ["cron", "When it fires", "When it fires"],
])("the field %s with the title %s is called %s", (name, title, label) => {
  expect(labelOf(name, { title })).toBe(label);
});
