// A socket that comes back: it is opened again after it was lost, ever later and never at the same time as others.

import type { ClientFrame, ServerFrame } from "./frames.ts";

/** What the library needs of a WebSocket; the browser's and that of the package `ws` have it. */
export interface Socket {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

export type SocketClass = new (url: string) => Socket;

export type Closed = { readonly code: number; readonly reason: string };

export interface ConnectionEvents {
  /** The socket is open: the first frame must be sent now. */
  opened(): void;
  received(frame: ServerFrame): void;
  /** The socket is lost, and another one will be opened. */
  lost(): void;
  /** The server does not want this client any more. */
  closed(closed: Closed): void;
}

/** The ticket was refused; `status` is the HTTP status: 401, 403 and 404 are final. */
export class TicketRefused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const OPEN = 1;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
/** A connection that has held so long is taken for sound: the next delay is the first one again. */
const SOUND_AFTER_MS = 10_000;
const LOOK_EVERY_MS = 5_000;
/** The server says something every 15 s. */
const ASK_AFTER_MS = 20_000;
const DEAD_AFTER_MS = 30_000;
const OPENING_AT_MOST_MS = 15_000;

export class Connection {
  readonly #open: () => Promise<Socket>;
  readonly #events: ConnectionEvents;
  readonly #random: () => number;
  #socket: Socket | null = null;
  #failures = 0;
  #openedAt = 0;
  #heardAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;
  #over = false;
  /** Grows with each attempt, so that what comes from an earlier one is known. */
  #attempt = 0;

  constructor(open: () => Promise<Socket>, events: ConnectionEvents, random: () => number = Math.random) {
    this.#open = open;
    this.#events = events;
    this.#random = random;
  }

  start(): void {
    this.#watch = setInterval(() => this.#look(), LOOK_EVERY_MS);
    void this.#connect();
  }

  /** False when there is no open socket. */
  send(frame: ClientFrame): boolean {
    if (this.#socket?.readyState !== OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Leave this socket for a new one, after some time. */
  renew(afterMs = 0): void {
    if (this.#over) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#leave();
      void this.#connect();
    }, afterMs);
  }

  /** Do not wait any longer: the network is said to be back. */
  hurry(): void {
    if (this.#socket === null && this.#timer !== undefined) this.renew();
  }

  close(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    this.#attempt += 1;
    this.#drop();
  }

  async #connect(): Promise<void> {
    this.#timer = undefined;
    const attempt = ++this.#attempt;
    this.#openedAt = 0;
    this.#heardAt = Date.now();
    try {
      const socket = await this.#open();
      if (attempt !== this.#attempt) {
        discard(socket);
        return;
      }
      this.#socket = socket;
      this.#listen(socket, attempt);
    } catch (error) {
      if (attempt === this.#attempt) this.#failed(error);
    }
  }

  #listen(socket: Socket, attempt: number): void {
    const current = () => attempt === this.#attempt;
    socket.onopen = () => {
      if (!current()) return;
      this.#openedAt = this.#heardAt = Date.now();
      this.#events.opened();
    };
    socket.onmessage = (event: { readonly data: unknown }) => {
      if (current()) this.#hear(event.data);
    };
    socket.onerror = () => undefined; // a close follows
    socket.onclose = (event: Closed) => {
      if (current()) this.#ended(event);
    };
  }

  #hear(data: unknown): void {
    this.#heardAt = Date.now();
    this.#events.received(JSON.parse(String(data)) as ServerFrame);
  }

  #ended({ code, reason }: Closed): void {
    if (code >= 4400 && code <= 4499) this.#finish({ code, reason });
    else this.#comeBack();
  }

  #failed(error: unknown): void {
    if (error instanceof TicketRefused && [401, 403, 404].includes(error.status)) {
      this.#finish({ code: 4000 + error.status, reason: error.message });
    } else this.#comeBack();
  }

  #finish(closed: Closed): void {
    this.close();
    this.#events.closed(closed);
  }

  #comeBack(): void {
    this.#leave();
    const sound = this.#openedAt > 0 && Date.now() - this.#openedAt >= SOUND_AFTER_MS;
    if (sound) this.#failures = 0;
    const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    this.renew(delay * (0.5 + this.#random() / 2));
  }

  /** Give up this socket. What it still says is not heard. */
  #leave(): void {
    this.#attempt += 1;
    this.#drop();
    this.#events.lost();
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    if (socket !== null) discard(socket);
  }

  #look(): void {
    const silent = Date.now() - this.#heardAt;
    const limit = this.#openedAt === 0 ? OPENING_AT_MOST_MS : DEAD_AFTER_MS;
    if (this.#timer !== undefined) return;
    if (silent > limit) {
      this.#comeBack();
    } else if (this.#openedAt > 0 && silent > ASK_AFTER_MS) this.send({ type: "ping" });
  }
}

function discard(socket: Socket): void {
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.onerror = () => undefined; // an error on a socket that nobody needs is none
  socket.close();
}
