import { describe, expect, test } from "vitest";
import type { StepNews } from "./liveRun";
import { edgeRun, NO_RUN, runView } from "./runView";

const step = (node_id: string, more: Partial<StepNews> = {}): StepNews =>
  ({
    step_key: node_id,
    node_id,
    status: "completed",
    attempt: 1,
    handle: null,
    started_at: "2026-01-01T00:00:00Z",
    finished_at: "2026-01-01T00:00:01Z",
    error: null,
    ...more,
  }) as StepNews;
const wire = (source: string, target: string, source_handle = "out") => ({ source, target, source_handle });
const RUNNING = { status: "running" } as never;
const live = (...steps: StepNews[]) => ({
  run: RUNNING,
  steps: new Map(steps.map((each) => [each.step_key, each])),
  texts: new Map<string, string>(),
});

describe("a run by node", () => {
  test("takes the steps of a loop together", () => {
    const view = runView(
      live(
        step("a", { step_key: "a[0]" }),
        step("a", { step_key: "a[1]", status: "failed", error: { message: "no" } as never }),
      ),
    );
    expect(view.nodes.get("a")).toMatchObject({ count: 2, failed: 1, status: "failed", error: "no" });
  });

  test("stays the same where nothing has changed", () => {
    const first = runView(live(step("a")));
    const second = runView(live(step("a"), step("b")), [], first);
    expect(second.nodes.get("a")).toBe(first.nodes.get("a"));
    expect(runView(live(step("a"), step("b")), [], second)).toBe(second);
  });

  test("shows what runs now, before its step is told", () => {
    const wires = [wire("a", "b", "true"), wire("a", "c", "false"), wire("b", "d"), wire("c", "d")];
    const view = runView(live(step("a", { handle: "true" })), wires);
    expect(view.nodes.get("b")).toMatchObject({ status: "running", startedAt: "2026-01-01T00:00:01Z" });
    expect(view.nodes.has("c")).toBe(false);
    expect(view.nodes.has("d")).toBe(false);
  });

  test("shows a node with several inputs as running only when nothing before it still runs", () => {
    const wires = [wire("a", "b"), wire("a", "c"), wire("b", "d"), wire("c", "d")];
    expect(runView(live(step("a"), step("b")), wires).nodes.get("d")).toBeUndefined();
    expect(runView(live(step("a"), step("b"), step("c")), wires).nodes.get("d")?.status).toBe("running");
  });

  test("shows nothing as running once the run has ended", () => {
    const ended = { ...live(step("a")), run: { status: "failed" } as never };
    expect(runView(ended, [wire("a", "b")]).nodes.has("b")).toBe(false);
    expect(runView({ ...ended, steps: new Map() })).toBe(NO_RUN);
  });

  test("shows the end of the text that is being made", () => {
    const told = { ...live(step("a")), texts: new Map([["b", "Once upon a time"]]) };
    expect(runView(told, [wire("a", "b")]).nodes.get("b")?.text).toBe("Once upon a time");
  });
});

test("a wire is lit where the run went, and moves where it goes", () => {
  const wires = [wire("a", "b", "true"), wire("a", "c", "false")];
  const view = runView(live(step("a", { handle: "true" })), wires);
  expect(edgeRun(view, { source: "a", target: "b", sourceHandle: "true" })).toBe("live");
  expect(edgeRun(view, { source: "a", target: "c", sourceHandle: "false" })).toBeNull();
  const later = runView(live(step("a", { handle: "true" }), step("b")), wires);
  expect(edgeRun(later, { source: "a", target: "b", sourceHandle: "true" })).toBe("done");
});
