// A copy of a draft and everything around it that takes time: the connection, the store, who else is here.

import { Diverged } from "./apply.ts";
import { type Closed, Connection, type Socket, type SocketClass } from "./connection.ts";
import { Emitter } from "./emitter.ts";
import type { DraftEvents } from "./events.ts";
import type { JoinedFrame, PresenceChangesFrame, ServerFrame, You } from "./frames.ts";
import type { Json } from "./json.ts";
import { Keeper } from "./keeper.ts";
import { Presence } from "./presence.ts";
import { Gap, Replica } from "./replica.ts";
import { Sender } from "./sender.ts";
import { MemoryStore, type OfflineStore, type TakenQueue } from "./store.ts";

export type DraftOptions = {
  readonly workflowId: string;
  /** The address of the room, `ws://…/api/ws/workflows/ID`, with the ticket in its query when there is one. */
  readonly url: (ticket: string | undefined) => string;
  /** Obtains a one-time ticket for each connection; left out where a cookie or a header tells who one is. */
  readonly ticket?: () => Promise<string>;
  /** Where waiting edits survive a reload; without it they live as long as the page. */
  readonly store?: OfflineStore;
  readonly WebSocket?: SocketClass;
  /** Undoes a committed edit on the server: brings back nodes whose removal this copy has not seen. */
  readonly revert?: (seq: number) => Promise<void>;
  /** Between 0 and 1, for the jitter of reconnects. */
  readonly random?: () => number;
};

const UNANSWERED_MS = 10_000;
const LOOK_EVERY_MS = 2_500;

export class Session {
  readonly events = new Emitter<DraftEvents>();
  readonly replica = new Replica(this.events, () => this.#edited());
  readonly presence: Presence;
  readonly connection: Connection;
  readonly keeper: Keeper;
  joined = false;
  closed: Closed | null = null;
  role: string | null = null;
  you: You | null = null;
  problems: readonly Json[] = [];
  readonly #options: DraftOptions;
  readonly #changed: () => void;
  /** This copy cannot be trusted: the next join asks for the whole draft. */
  #forget = false;
  readonly #sender: Sender;
  readonly #watch: ReturnType<typeof setInterval>;

  constructor(options: DraftOptions, changed: () => void) {
    this.#options = options;
    this.#changed = changed;
    this.presence = new Presence((state) => {
      if (this.joined) this.connection.send({ type: "presence", state });
    });
    this.connection = this.#connect();
    this.#sender = new Sender(
      () => (this.joined ? this.replica.next() : null),
      (frame) => this.connection.send(frame),
    );
    this.keeper = this.#keep(options.store ?? new MemoryStore());
    this.#watch = setInterval(() => this.#look(), LOOK_EVERY_MS);
    void this.#start();
  }

  async close(closed: Closed): Promise<void> {
    if (this.closed !== null) return;
    await this.#end(closed);
  }

  // --- beginning and end

  async #start(): Promise<void> {
    const taken = await this.keeper.take();
    if (this.closed !== null) return taken.release();
    this.#use(taken);
    this.connection.start();
    this.#changed();
  }

  #connect(): Connection {
    const events = {
      opened: () => this.#opened(),
      received: (frame: ServerFrame) => this.#received(frame),
      lost: () => this.#lost(),
      closed: (closed: Closed) => void this.#end(closed),
    };
    return new Connection(() => this.#socket(), events, this.#options.random);
  }

  #keep(store: OfflineStore): Keeper {
    return new Keeper(store, this.#options.workflowId, {
      toKeep: () => this.replica.saved(!this.joined),
      lost: () => void this.#queueLost(),
      failed: (error) => this.events.emit("error", { error: "store", message: String(error) }),
    });
  }

  async #socket(): Promise<Socket> {
    const { WebSocket = globalThis.WebSocket as unknown as SocketClass, ticket, url } = this.#options;
    return new WebSocket(url(ticket === undefined ? undefined : await ticket()));
  }

  async #end(closed: Closed): Promise<void> {
    this.joined = false;
    this.closed = closed;
    this.replica.closed = closed.reason || "The draft is closed.";
    this.connection.close();
    this.presence.lost();
    clearInterval(this.#watch);
    this.#sender.stop();
    this.#changed();
    await this.keeper.release();
  }

  // --- the connection

  #opened(): void {
    const { client, seq, confirmed } = this.replica;
    const known = confirmed !== null && !this.#forget;
    this.connection.send({ type: "join", client, ...(known ? { since: seq } : {}) });
  }

  #lost(): void {
    this.joined = false;
    this.presence.lost();
    if (this.replica.queue.size > 0) this.keeper.note(true);
    this.#changed();
  }

  #received(frame: ServerFrame): void {
    try {
      if (!this.#take(frame)) return;
    } catch (error) {
      if (!(error instanceof Gap) && !(error instanceof Diverged)) throw error;
      this.#forget = error instanceof Diverged || frame.type === "joined";
      this.#again();
    }
    this.#sender.wake();
    this.keeper.note(!this.joined);
    this.#changed();
  }

  /** Join again, over a new connection: what is missing comes with it. */
  #again(): void {
    this.joined = false;
    this.connection.renew();
  }

  /** Answers whether there may be anything new. */
  #take(frame: ServerFrame): boolean {
    if (frame.type === "presence") return this.joined && this.presence.changed(frame);
    if (frame.type === "joined") this.#join(frame);
    else if (this.joined) this.#hear(frame);
    return true;
  }

  #hear(frame: Exclude<ServerFrame, JoinedFrame | PresenceChangesFrame>): void {
    switch (frame.type) {
      case "edit":
        this.replica.committed([frame]);
        break;
      case "refused":
        this.#sendLater(this.replica.refused(frame));
        break;
      case "problems":
        this.problems = frame.problems;
        break;
      case "tick":
        if (frame.seq > this.replica.seq) throw new Gap();
        break;
      case "version_deployed":
        this.events.emit("version_deployed", frame);
        break;
      case "run_started":
        this.events.emit("run_started", frame);
        break;
      case "reconnect":
        this.connection.renew(frame.after_ms);
        break;
      case "error":
        this.events.emit("error", { error: frame.error, message: frame.message });
    }
  }

  #join(frame: JoinedFrame): void {
    this.replica.joined(frame);
    this.joined = true;
    this.#forget = false;
    this.role = frame.role;
    this.you = frame.you;
    this.problems = frame.problems ?? [];
    this.presence.joined(frame);
    this.#sendAgain();
    void this.#takeAbandoned();
  }

  // --- sending

  #edited(): void {
    this.#sender.wake();
    this.keeper.note(!this.joined);
    this.#changed();
  }

  #sendAgain(): void {
    if (this.joined) this.#sender.send(this.replica.again());
  }

  #sendLater(afterMs: number | null): void {
    if (afterMs !== null) setTimeout(() => this.#sendAgain(), afterMs);
  }

  /** An edit that is not answered: whatever has been lost, joining again finds out. */
  #look(): void {
    const waits = this.joined && this.replica.queue.sent !== null;
    if (waits && this.#sender.waited > UNANSWERED_MS) this.#again();
  }

  // --- the store

  #use(taken: TakenQueue): void {
    this.keeper.use(taken);
    this.replica.adopt(taken.client, taken.saved);
  }

  /** With nothing of one's own to send: send what a tab that is gone has left behind. */
  async #takeAbandoned(): Promise<void> {
    const isIdle = () => this.closed === null && this.replica.queue.size === 0;
    if (!isIdle()) return;
    const taken = await this.keeper.takeAbandoned();
    if (taken === null) return;
    await this.keeper.flush();
    if (!isIdle()) return taken.release(); // for another time
    this.#use(taken);
    this.#forget = true; // with the whole draft comes what has become of what that tab sent last
    this.#again();
    this.#changed();
  }

  /** Another tab has this queue now, and sends what was in it. */
  async #queueLost(): Promise<void> {
    this.#use(await this.keeper.takeNew());
    this.#again();
    this.#changed();
  }
}
