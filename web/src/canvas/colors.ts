import { sha256 } from "@noble/hashes/sha2.js";

/** As COLORS of melagent/domain/seats.py. */
export const COLORS = [
  "#bf3f0d",
  "#c92a2a",
  "#c2255c",
  "#9c36b5",
  "#6741d9",
  "#3b5bdb",
  "#1971c2",
  "#0b7285",
  "#087f5b",
  "#237032",
  "#5f6b0e",
  "#8f4a10",
] as const;

/** The colour that a person has among those who are here: the same wherever the person is seen. */
export function colorOf(personId: string): string {
  const [first = 0] = sha256(new TextEncoder().encode(personId));
  return COLORS[first % COLORS.length] as string;
}
