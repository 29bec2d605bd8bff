import {
  IconAlertHexagon,
  IconArrowBackUp,
  IconArrowMerge,
  IconArrowsSplit2,
  IconBraces,
  IconBrain,
  IconBrandSlack,
  IconCalendarTime,
  IconCircleDashed,
  IconCode,
  IconCornerDownRight,
  IconCornerUpLeft,
  IconCube,
  IconDatabase,
  IconDice5,
  IconFile,
  IconFileCode,
  IconGitBranch,
  IconHandStop,
  IconHash,
  IconHourglass,
  IconList,
  IconMail,
  IconMessage,
  IconPencil,
  IconPlayerPlay,
  type IconProps,
  IconRepeat,
  IconRobot,
  IconSend,
  IconSitemap,
  IconSparkles,
  IconStopwatch,
  IconTable,
  IconTool,
  IconUrgent,
  IconVaccine,
  IconVariable,
  IconWand,
  IconWebhook,
  IconWorld,
} from "@tabler/icons-react";
import type { ComponentType, CSSProperties } from "react";
import classes from "./NodeIcon.module.css";

/** The names that node types give their icons. A type of an extension with another name gets a plain one. */
const ICONS: Record<string, ComponentType<IconProps>> = {
  bot: IconRobot,
  brain: IconBrain,
  braces: IconBraces,
  "calendar-clock": IconCalendarTime,
  circle: IconCircleDashed,
  code: IconCode,
  "code-xml": IconCode,
  "corner-down-right": IconCornerDownRight,
  "corner-up-left": IconCornerUpLeft,
  database: IconDatabase,
  dices: IconDice5,
  file: IconFile,
  "file-code": IconFileCode,
  "git-branch": IconGitBranch,
  globe: IconWorld,
  hand: IconHandStop,
  hash: IconHash,
  hourglass: IconHourglass,
  list: IconList,
  mail: IconMail,
  merge: IconArrowMerge,
  message: IconMessage,
  "octagon-x": IconAlertHexagon,
  pencil: IconPencil,
  play: IconPlayerPlay,
  repeat: IconRepeat,
  reply: IconArrowBackUp,
  "scroll-text": IconFile,
  send: IconSend,
  siren: IconUrgent,
  slack: IconBrandSlack,
  sparkles: IconSparkles,
  split: IconArrowsSplit2,
  syringe: IconVaccine,
  table: IconTable,
  timer: IconStopwatch,
  tool: IconTool,
  variable: IconVariable,
  "wand-sparkles": IconWand,
  webhook: IconWebhook,
  workflow: IconSitemap,
};

const HUES: Record<string, number> = {
  Triggers: 24,
  Control: 262,
  Data: 168,
  AI: 316,
  Integrations: 214,
  Variables: 96,
  Workflow: 192,
};

/** The colour of a category, as a hue; one that is not known has a colour of its own all the same. */
export function hueOf(category: string): number {
  return HUES[category] ?? [...category].reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % 360, 7);
}

export function NodeIcon({ icon, category, size = 36 }: { icon: string; category: string; size?: number }) {
  const Icon = ICONS[icon] ?? IconCube;
  const style = { "--hue": hueOf(category), "--size": `${size}px` } as CSSProperties;
  return (
    <span className={classes.tile} style={style} aria-hidden>
      <Icon size={size * 0.56} stroke={1.8} />
    </span>
  );
}
