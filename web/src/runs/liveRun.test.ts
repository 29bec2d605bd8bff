import { expect, test } from "vitest";
import { NOTHING_YET, told } from "./liveRun";

const event = (kind: string, data: unknown, id = "1") => ({ id, kind, data });
const after = (...events: ReturnType<typeof event>[]) => events.reduce(told, NOTHING_YET);

test("a step that is told again is the newer one, in its old place", () => {
  const known = after(
    event("step", { step_key: "a", status: "running" }),
    event("step", { step_key: "b", status: "running" }),
    event("step", { step_key: "a", status: "completed" }, "3"),
  );
  expect([...known.steps.values()].map(({ step_key, status }) => [step_key, status])).toEqual([
    ["a", "completed"],
    ["b", "running"],
  ]);
  expect(known.position).toBe("3");
});

test("text grows by its pieces, a repeated piece changes nothing, and a gap is shown", () => {
  const piece = (offset: number, text: string) => event("token", { step_key: "a", attempt: 1, offset, text });
  expect(after(piece(0, "Hel"), piece(3, "lo"), piece(3, "lo")).texts.get("a")).toBe("Hello");
  expect(after(piece(0, "Hel"), piece(9, "world")).texts.get("a")).toBe("… world");
});

test("the end brings the run whole", () => {
  const known = after(event("run", { status: "running" }), event("end", { status: "completed", output: 42 }));
  expect([known.ended, known.run?.status, known.run?.output]).toEqual([true, "completed", 42]);
});
