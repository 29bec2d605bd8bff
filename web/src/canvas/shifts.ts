import { useEffect, useLayoutEffect, useRef } from "react";
import type { Graph, Place } from "./graph";

type Shift = Place | undefined;

/**
 * Draws what is at one of these nodes again in each move of a drag: `draw` gets how far each of them is from its
 * position. It changes the page by itself, because to render one node React looks at all the others.
 */
export function useShifts({ shifts }: Graph, ids: readonly string[], draw: (shifts: readonly Shift[]) => void): void {
  const latest = useRef({ ids, draw });
  const before = useRef<readonly Shift[]>([]);
  useLayoutEffect(() => {
    latest.current = { ids, draw };
  });
  useEffect(
    () =>
      shifts.subscribe(() => {
        const now = latest.current.ids.map((id) => shifts.get().get(id));
        if (now.every((shift, index) => shift === before.current[index])) return;
        before.current = now;
        latest.current.draw(now);
      }),
    [shifts],
  );
}
