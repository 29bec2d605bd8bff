import type { CSSProperties } from "react";
import classes from "./FarFace.module.css";
import { kindOf } from "./handles";
import { hueOf } from "./NodeIcon";
import type { Seen } from "./StepNode";

/**
 * What can be told of a node from afar: its category by a colour, how long its name is, and how it fares. The words are
 * there for who listens.
 */
export function FarFace({ id, node, type, problems, run }: Seen) {
  const name = node.name || id;
  const kind = kindOf(node, type);
  return (
    <>
      <span className={classes.tile} style={{ "--hue": hueOf(type?.category ?? "") } as CSSProperties} />
      <span className={classes.words}>
        <Bar text={name} className={classes.name} />
        <Bar text={kind} className={classes.kind} />
      </span>
      {run && <span className={classes.mark} data-kind={run.status} role="img" aria-label={run.status} />}
      {problems && <span className={classes.mark} data-kind="problem" role="img" aria-label="Problems" />}
    </>
  );
}

function Bar({ text, className }: { text: string; className: string | undefined }) {
  return (
    <span className={className} style={{ "--letters": text.length } as CSSProperties}>
      {text}
    </span>
  );
}
