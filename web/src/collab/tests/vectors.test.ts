// @vitest-environment node

// The vectors that the server's tests run too: see tests/domain/edits/README.md.

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { applicable, apply, replay } from "../apply.ts";
import { checked, Refused } from "../check.ts";
import type { SentDefinition } from "../definition.ts";
import { canonical, type Json } from "../json.ts";
import type { Operation } from "../operations.ts";
import { getAt } from "../paths.ts";
import { definitionOf, load, Working } from "../state.ts";

type Vector = {
  readonly name: string;
  readonly definition: SentDefinition;
  readonly edits: readonly {
    readonly ops: readonly Operation[];
    readonly applied?: readonly Operation[];
    readonly inverse?: readonly Operation[];
    readonly refused?: { readonly error: string };
  }[];
  readonly result: Json;
};

const FOLDER = fileURLToPath(new URL("../../../../tests/domain/edits/", import.meta.url));

/**
 * The library refuses what it could not apply, and leaves values, shapes and versions of texts to the server: it must
 * refuse a missing or taken id, and may refuse the rest.
 */
function mustRefuse(ops: readonly Operation[], error: string): boolean {
  return ["gone", "not_found", "conflict"].includes(error) && ops.every((op) => op.op !== "text.edit");
}

function refusalOf(work: Working, ops: readonly Operation[]): string | null {
  try {
    apply(work, ops);
    return null;
  } catch (error) {
    return error instanceof Refused ? error.error : "broken";
  }
}

/** Typing into a text that is not there is undone to an empty one, which others may have typed in. */
function typesIntoNothing(work: Working, ops: readonly Operation[]): boolean {
  return ops.some((op) => op.op === "text.edit" && getAt(work.nodes.get(op.id), op.path) === undefined);
}

function types(ops: readonly Operation[]): boolean {
  return ops.some((op) => op.op === "text.edit");
}

const text = (value: unknown) => canonical(value as Json);

/** Without the order of nodes and edges. */
function unordered(definition: SentDefinition): string {
  const sorted = (list: readonly unknown[] = []) => list.map(text).sort();
  return text({ ...definition, nodes: sorted(definition.nodes), edges: sorted(definition.edges) });
}

const files = readdirSync(FOLDER).filter((name) => name.endsWith(".json"));

describe.each(files)("%s", (file) => {
  const vectors = JSON.parse(readFileSync(FOLDER + file, "utf8")) as Vector[];

  test.each(vectors)("replayed: $name", ({ definition, edits, result }) => {
    const work = new Working(load(definition));
    for (const { ops, applied = ops, refused } of edits) if (refused === undefined) replay(work, applied);
    expect(text(definitionOf(work.state()))).toBe(text(result));
  });

  test.each(vectors)("refused, or left to the server: $name", ({ definition, edits }) => {
    const work = new Working(load(definition));
    for (const { ops, applied = ops, refused } of edits) {
      const before = work.state();
      if (refused === undefined) {
        expect(refusalOf(new Working(before), ops)).toBeNull();
        replay(work, applied);
        continue;
      }
      const wellFormed = Array.isArray(ops) && ops.every((op) => typeof op === "object" && op !== null);
      if (!wellFormed || refused.error === "bad_request") continue;
      const own = new Working(before);
      const found = refusalOf(own, ops);
      if (mustRefuse(ops, refused.error)) expect(found).toBe(refused.error === "gone" ? "not_found" : refused.error);
      if (found !== null) expect(text(definitionOf(own.state()))).toBe(text(definitionOf(before)));
    }
  });

  test.each(vectors)("undone: $name", ({ definition, edits }) => {
    const work = new Working(load(definition));
    for (const { ops, applied = ops, inverse: decided, refused } of edits) {
      if (refused !== undefined) continue;
      const before = work.state();
      const own = new Working(before);
      const inverse = apply(own, ops);
      // Changes of a text are refused where the inverse of the server puts it back as a whole.
      if (decided && !types(decided) && !typesIntoNothing(new Working(before), ops)) expect(types(inverse)).toBe(false);
      const possible = applicable(own.state(), inverse);
      apply(own, possible);
      const lost = inverse.length !== possible.length || typesIntoNothing(new Working(before), ops);
      if (!lost) expect(unordered(definitionOf(own.state()))).toBe(unordered(definitionOf(before)));
      replay(work, applied);
    }
  });

  test.each(vectors)("completed: $name", ({ definition, edits }) => {
    const work = new Working(load(definition));
    for (const { ops, applied = ops, refused } of edits) {
      if (refused !== undefined) continue;
      for (const [index, op] of ops.entries()) {
        if (op.op === "node.add" || op.op === "edge.add") expect(text(checked(work, op))).toBe(text(applied[index]));
        replay(work, [applied[index] as Operation]);
      }
    }
  });
});
