import { MantineProvider } from "@mantine/core";
import { fireEvent, render, screen } from "@testing-library/react";
import { useState } from "react";
import { describe, expect, test, vi } from "vitest";
import type { FormSlots } from "./FormContext";
import { type Path, setAt } from "./paths";
import { SchemaForm } from "./SchemaForm";
import type { Schema } from "./schema";

const SCHEMA: Schema = {
  type: "object",
  required: ["url"],
  properties: {
    url: { type: "string", maxLength: 200, description: "What to call" },
    method: { type: "string", enum: ["GET", "POST"], default: "GET" },
    retries: { type: "integer", default: 3, minimum: 0 },
    follow: { type: "boolean", default: true },
    hosts: { type: "array", items: { type: "string", maxLength: 100 }, maxItems: 2 },
    headers: { type: "object", additionalProperties: { type: "string", maxLength: 100 } },
    secret: { type: "string", "x-secret": true },
    body: {},
    raw: { type: "string", maxLength: 50, "x-visible-if": "method == 'POST'" },
  },
};

interface Given extends FormSlots {
  value?: Record<string, unknown>;
  problems?: ReadonlyMap<string, string>;
  readOnly?: boolean;
}

type Changes = [Path, unknown][];
type Latest = { value: Record<string, unknown> };

function Stage({ changes, latest, ...given }: Given & { changes: Changes; latest: Latest }) {
  const [now, setNow] = useState(latest.value);
  const change = (path: Path, next: unknown) => {
    changes.push([path, next]);
    latest.value = setAt(latest.value, path, next) as Record<string, unknown>;
    setNow(latest.value);
  };
  return (
    <MantineProvider env="test">
      <SchemaForm {...given} schema={SCHEMA} value={now} onChange={change} />
    </MantineProvider>
  );
}

function Own() {
  return <output>my own</output>;
}

function show({ value = {}, ...given }: Given = {}) {
  const changes: Changes = [];
  const latest: Latest = { value };
  render(<Stage changes={changes} latest={latest} {...given} />);
  return { changes, latest };
}

const type = (label: string | RegExp, text: string) =>
  fireEvent.change(screen.getByLabelText(label), { target: { value: text } });

describe("a form", () => {
  test("tells each change by its path, and nothing entered takes the value away", () => {
    const { changes } = show();
    type(/^URL/, "https://example.com");
    type(/^URL/, "");
    expect(changes).toEqual([
      [["url"], "https://example.com"],
      [["url"], undefined],
    ]);
  });

  test("shows defaults without storing them", () => {
    const { latest } = show();
    expect((screen.getByLabelText("Follow") as HTMLInputElement).checked).toBe(true);
    expect((screen.getByLabelText("Retries") as HTMLInputElement).placeholder).toBe("3");
    expect(latest.value).toEqual({});
    fireEvent.click(screen.getByLabelText("Follow"));
    expect(latest.value).toEqual({ follow: false });
  });

  test("shows a field by its condition, defaults counted", () => {
    show();
    expect(screen.queryByLabelText("Raw")).toBeNull();
  });

  test("shows a field whose condition holds", () => {
    show({ value: { method: "POST" } });
    expect(screen.queryByLabelText("Raw")).not.toBeNull();
  });

  test("adds to a list up to its most entries, changes and removes", () => {
    const { latest } = show();
    fireEvent.click(screen.getByLabelText("Add to Hosts"));
    fireEvent.click(screen.getByLabelText("Add to Hosts"));
    expect(screen.queryByLabelText("Add to Hosts")).toBeNull();
    type("Hosts 2", "b.example.com");
    fireEvent.click(screen.getByLabelText("Move entry 2 of Hosts up"));
    expect(latest.value).toEqual({ hosts: ["b.example.com", ""] });
    fireEvent.click(screen.getByLabelText("Remove entry 2 of Hosts"));
    expect(latest.value).toEqual({ hosts: ["b.example.com"] });
  });

  test("an entry of a list that was emptied stays an entry", () => {
    const { latest } = show({ value: { hosts: ["a", "b"] } });
    type("Hosts 1", "");
    expect(latest.value).toEqual({ hosts: ["", "b"] });
  });

  test("a value of a map that was emptied keeps its name", () => {
    const { latest } = show({ value: { headers: { Accept: "text/html" } } });
    type("Value of Accept", "");
    expect(latest.value).toEqual({ headers: { Accept: "" } });
  });

  test("renames an entry of a map when its name is left, and never over another", () => {
    const { latest } = show({ value: { headers: { Accept: "text/html", Other: "1" } } });
    const [first] = screen.getAllByLabelText("Name in Headers");
    if (!first) throw new Error("no name");
    fireEvent.change(first, { target: { value: "Other" } });
    fireEvent.blur(first);
    expect(latest.value).toEqual({ headers: { Accept: "text/html", Other: "1" } });
    fireEvent.change(first, { target: { value: "Cookie" } });
    fireEvent.blur(first);
    expect(latest.value).toEqual({ headers: { Cookie: "text/html", Other: "1" } });
  });

  test("keeps what is typed of a value until it is JSON, and takes text with an expression as it is", () => {
    const { changes } = show();
    type("Body", '{"a":');
    expect(changes).toEqual([]);
    expect(screen.getByText(/This is not JSON yet/)).toBeTruthy();
    type("Body", '{"a": 1}');
    type("Body", "{{ input }} and more");
    expect(changes).toEqual([
      [["body"], { a: 1 }],
      [["body"], "{{ input }} and more"],
    ]);
  });

  test("shows an expression where a number is expected, as text", () => {
    show({ value: { retries: "{{ input.count }}" } });
    expect((screen.getByLabelText("Retries") as HTMLTextAreaElement).value).toBe("{{ input.count }}");
  });

  test("never shows a secret that is kept", () => {
    const { latest } = show({ value: { secret: "•••" } });
    const input = screen.getByLabelText("Secret") as HTMLInputElement;
    expect(input.value).toBe("");
    expect(input.placeholder).toContain("kept");
    type("Secret", "new");
    expect(latest.value).toEqual({ secret: "new" });
  });

  test("shows a problem at its field", () => {
    show({ value: { hosts: ["x"] }, problems: new Map([["hosts[0]", "no host"]]) });
    expect(screen.getByLabelText("Hosts 1").getAttribute("aria-invalid")).toBe("true");
    expect(screen.getByText("no host")).toBeTruthy();
  });

  test("only shows when it is read only", () => {
    show({ value: { hosts: ["x"] }, readOnly: true });
    expect((screen.getByLabelText(/^URL/) as HTMLInputElement).disabled).toBe(true);
    expect(screen.queryByLabelText("Add to Hosts")).toBeNull();
  });

  test("gives every field of one value to whoever stands around it, and takes other controls", () => {
    const around = vi.fn((_field, control) => <section>{control}</section>);
    show({ around, controls: { integer: Own } });
    const asked = new Set(around.mock.calls.map(([field]) => field.path.join(".")));
    expect(asked).toEqual(new Set(["url", "method", "retries", "follow", "secret", "body"]));
    expect(screen.getByText("my own")).toBeTruthy();
  });
});
