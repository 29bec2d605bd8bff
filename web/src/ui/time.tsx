import { Text, type TextProps, Tooltip } from "@mantine/core";
import { useEffect, useState } from "react";

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A moment as people say it: "3 minutes ago", "in 2 hours", "just now". */
export function timeAgo(moment: string, now = Date.now()): string {
  const seconds = (Date.parse(moment) - now) / 1000;
  const [unit, size] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? ["second", 1];
  if (unit === "second" && Math.abs(seconds) < 10) return seconds < 0 ? "just now" : "now";
  return relative.format(Math.round(seconds / size), unit);
}

/** A length of time, with as many places as mean something. */
export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.round((seconds % 86_400) / 3600)} h`;
}

export function secondsBetween(from: string, to: string | null | undefined, now = Date.now()): number {
  return Math.max(0, ((to ? Date.parse(to) : now) - Date.parse(from)) / 1000);
}

/** The present, again and again while `running`. */
export function useNow(running: boolean, everyMs = 1000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [running, everyMs]);
  return now;
}

/** How long ago or until when, kept up to date; the exact moment shows on hover. */
export function Moment({ at, ...text }: { at: string | null | undefined } & TextProps) {
  const now = useNow(Boolean(at), 10_000);
  if (!at) return <Text {...text}>–</Text>;
  return (
    <Tooltip label={absolute.format(new Date(at))}>
      <Text component="time" dateTime={at} {...text}>
        {timeAgo(at, now)}
      </Text>
    </Tooltip>
  );
}
