/** JSON Schema as our node types and credential types use it, and what a form makes of it. */
export interface Schema {
  type?: string;
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  $ref?: string;
  $defs?: Record<string, Schema>;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  "x-secret"?: boolean;
  "x-widget"?: string;
  "x-credential"?: string[];
  "x-group"?: string;
  "x-visible-if"?: string;
}

/** What a field is edited with. */
export type Kind =
  | "choice"
  | "boolean"
  | "integer"
  | "number"
  | "text"
  | "long-text"
  | "secret"
  | "object"
  | "list"
  | "map"
  | "connection"
  | "workflow"
  | "any";

/** A schema without references, and whether null is allowed besides. */
export interface Resolved {
  schema: Schema;
  nullable: boolean;
}

const NULL = "null";
const SHORT_TEXT = 2_000;

/** Follow references, and take `null` out of the alternatives. What is beside a reference or alternative wins. */
export function resolve(schema: Schema, root: Schema): Resolved {
  if (schema.$ref) {
    const name = schema.$ref.replace("#/$defs/", "");
    const { $ref: _, ...beside } = schema;
    return resolve({ ...root.$defs?.[name], ...beside }, root);
  }
  const others = schema.anyOf?.filter((each) => each.type !== NULL);
  const [only] = others ?? [];
  if (!schema.anyOf || !only || others?.length !== 1) {
    return { schema, nullable: schema.anyOf?.some((each) => each.type === NULL) ?? false };
  }
  const { anyOf: _, ...beside } = schema;
  return { schema: { ...resolve(only, root).schema, ...beside }, nullable: others.length < schema.anyOf.length };
}

/** What a resolved schema is edited with. */
export function kindOf(schema: Schema): Kind {
  if (schema["x-widget"] === "connection" || schema["x-widget"] === "workflow") return schema["x-widget"];
  if (schema["x-secret"]) return "secret";
  if (schema.enum) return "choice";
  switch (schema.type) {
    case "boolean":
    case "integer":
    case "number":
      return schema.type;
    case "string":
      return isLong(schema) ? "long-text" : "text";
    case "array":
      return schema.items && Object.keys(schema.items).length > 0 ? "list" : "any";
    case "object":
      return schema.properties ? "object" : isMap(schema) ? "map" : "any";
    default:
      return schema["x-widget"] === "template" && isText(schema) ? "long-text" : "any";
  }
}

function isLong(schema: Schema): boolean {
  if (schema["x-widget"] === "template" || schema["x-widget"] === "code") return true;
  return !schema.pattern && !schema.format && (schema.maxLength ?? SHORT_TEXT + 1) > SHORT_TEXT;
}

function isMap(schema: Schema): boolean {
  return schema["x-widget"] === "key-value" || typeof schema.additionalProperties === "object";
}

function isText(schema: Schema): boolean {
  return schema.anyOf?.some((each) => each.type === "string") ?? false;
}

/** Whether a value can be shown by a field of this kind. What cannot (an expression, mostly) is shown as text. */
export function fits(kind: Kind, value: unknown): boolean {
  if (value === undefined || value === null) return true;
  switch (kind) {
    case "boolean":
      return typeof value === "boolean";
    case "integer":
    case "number":
      return typeof value === "number";
    case "text":
    case "long-text":
    case "secret":
    case "connection":
    case "workflow":
      return typeof value === "string";
    case "list":
      return Array.isArray(value);
    case "object":
    case "map":
      return typeof value === "object" && !Array.isArray(value);
    default:
      return true;
  }
}

const ACRONYMS = new Set([
  "api",
  "url",
  "ssl",
  "id",
  "http",
  "json",
  "csv",
  "xml",
  "html",
  "sql",
  "oauth",
  "jwt",
  "hmac",
]);

/** The name of a field for people: `followRedirects` is "Follow redirects". A title of the author's own stands. */
export function labelOf(name: string, schema: Schema): string {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .split(/[_\s]+/)
    .map((word) => (ACRONYMS.has(word.toLowerCase()) ? word.toUpperCase() : word.toLowerCase()));
  if (schema.title && letters(schema.title) !== letters(name)) return schema.title;
  const text = words.join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function letters(text: string): string {
  return text.replace(/[^A-Za-z0-9]/g, "").toLowerCase();
}

/** What a new entry of a list begins with. */
export function emptyValue(schema: Schema): unknown {
  if (schema.default !== undefined) return schema.default;
  switch (kindOf(schema)) {
    case "boolean":
      return false;
    case "integer":
    case "number":
      return schema.minimum ?? 0;
    case "list":
      return [];
    case "object":
    case "map":
      return {};
    case "choice":
      return schema.enum?.[0];
    case "any":
      return null;
    default:
      return "";
  }
}
