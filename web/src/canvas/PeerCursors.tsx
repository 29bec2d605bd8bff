import { useStore, ViewportPortal } from "@xyflow/react";
import type { CSSProperties } from "react";
import classes from "./Canvas.module.css";
import { useEditor } from "./editor";
import { usePart } from "./store";

/** Where others point, each in their colour, as large at any zoom. */
export function PeerCursors() {
  const cursors = usePart(useEditor().people, (people) => people.cursors);
  const zoom = useStore(({ transform }) => transform[2]);
  return (
    <ViewportPortal>
      {cursors.map(({ peer, name, color, at }) => (
        <div
          key={peer}
          className={classes.cursor}
          aria-hidden
          style={
            { "--person": color, transform: `translate(${at.x}px, ${at.y}px) scale(${1 / zoom})` } as CSSProperties
          }
        >
          <svg width="16" height="18" viewBox="0 0 16 18" aria-hidden>
            <path d="M1 1l13.5 6.2-5.9 1.7L5.6 15z" fill="currentColor" stroke="#fff" strokeWidth="1.2" />
          </svg>
          <span>{name}</span>
        </div>
      ))}
    </ViewportPortal>
  );
}
