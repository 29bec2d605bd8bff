// Sends what waits, one frame at a time and no faster than the server takes them.

import type { SentEditFrame } from "./frames.ts";

/** The server takes 50 edits a second from a peer; 100 operations, or 16 KiB, count as one. */
const REST_MS = 25;
const OPERATIONS_OF_ONE = 100;
const UNITS_OF_ONE = 16 * 1024;

export class Sender {
  readonly #next: () => SentEditFrame | null;
  readonly #send: (frame: SentEditFrame) => void;
  #sentAt = 0;
  #restsUntil = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `next` answers what is to be sent at that moment, if anything. */
  constructor(next: () => SentEditFrame | null, send: (frame: SentEditFrame) => void) {
    this.#next = next;
    this.#send = send;
  }

  /** For how many milliseconds the last frame has been under way. */
  get waited(): number {
    return Date.now() - this.#sentAt;
  }

  /** Something may be to be sent. */
  wake(): void {
    if (this.#timer !== undefined) return;
    const wait = this.#restsUntil - Date.now();
    if (wait > 0) this.#timer = setTimeout(() => this.#awake(), wait);
    else this.send(this.#next());
  }

  send(frame: SentEditFrame | null): void {
    if (frame === null) return;
    const units = JSON.stringify(frame.ops).length;
    const cost = Math.max(1, frame.ops.length / OPERATIONS_OF_ONE, units / UNITS_OF_ONE);
    this.#sentAt = Date.now();
    this.#restsUntil = this.#sentAt + REST_MS * cost;
    this.#send(frame);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #awake(): void {
    this.#timer = undefined;
    this.wake();
  }
}
