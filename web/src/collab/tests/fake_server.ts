// The model of the server: one draft, its order, its refusals, its memory of what clients have sent. Frames move only
// when a test moves them, so every order of events can be had.

import { apply, replay } from "../apply.ts";
import { checked, Refused } from "../check.ts";
import type { Socket } from "../connection.ts";
import type { Definition, SentDefinition } from "../definition.ts";
import type { ClientFrame, EditFrame, Gone, RefusedFrame, SentEditFrame, ServerFrame } from "../frames.ts";
import type { Operation } from "../operations.ts";
import { overlap, type Path } from "../paths.ts";
import { type DraftState, definitionOf, load, Working } from "../state.ts";

const AT = "2026-01-01T00:00:00Z";

export class FakeServer {
  state: DraftState;
  seq = 1;
  log: EditFrame[] = [];
  readonly sockets = new Set<FakeSocket>();
  readonly lastIds = new Map<string, number>();
  /** Refuse connections. */
  down = false;
  /** Edits before this one are not known any more: who has not got them gets the whole draft. */
  forgotten = 0;
  readonly #gone = new Map<string, Gone>();
  #touched: { readonly id: string; readonly path: Path; readonly seq: number }[] = [];
  #touchedAll = 1;
  #peers = 0;

  constructor(definition: SentDefinition = {}) {
    this.state = load(definition);
  }

  get definition(): Definition {
    return definitionOf(this.state);
  }

  /** The class of sockets that lead here. `online` tells whether they can be opened now. */
  socketClass(online: () => boolean = () => true): new (url: string) => FakeSocket {
    const server = this;
    return class extends FakeSocket {
      constructor(url: string) {
        super(server, url, online);
      }
    };
  }

  /** As after a restart: what touched which text is not known any more, so everything counts as touched now. */
  reload(): void {
    this.#touched = [];
    this.#touchedAll = this.seq;
  }

  /** An edit that comes over REST. */
  rest(ops: readonly Operation[], client = `rest-${this.seq}`): EditFrame {
    return this.#commit({ type: "edit", id: 1, ops }, client);
  }

  hear(socket: FakeSocket, frame: ClientFrame): void {
    if (frame.type === "join") this.#join(socket, frame.client, frame.since);
    else if (frame.type === "edit") this.#edit(socket, frame);
    else if (frame.type === "ping") socket.say({ type: "tick", seq: this.seq });
    else this.#show(socket, frame.state);
  }

  leave(socket: FakeSocket): void {
    if (this.sockets.delete(socket)) this.#tell({ type: "presence", changes: { [socket.peer]: null } });
  }

  #join(socket: FakeSocket, client: string, since: number | undefined): void {
    this.#peers += 1;
    socket.client = client;
    socket.peer = `p${this.#peers}`;
    const you = { peer: socket.peer, id: client, name: client, color: "#888888" };
    const known = since !== undefined && since <= this.seq && since >= this.forgotten;
    const content = known
      ? { edits: this.log.filter((edit) => edit.seq > (since ?? 0)) }
      : { definition: this.definition };
    const presence = Object.fromEntries([...this.sockets].map((other) => [other.peer, other.shown()]));
    const last_id = this.lastIds.get(client) ?? 0;
    this.sockets.add(socket);
    socket.say({ type: "joined", seq: this.seq, you, role: "editor", ...content, last_id, presence, problems: [] });
  }

  #edit(socket: FakeSocket, frame: SentEditFrame): void {
    const { client } = socket;
    if (frame.id <= (this.lastIds.get(client) ?? 0)) {
      const stored = this.log.find((edit) => edit.client === client && edit.id === frame.id);
      socket.say(stored ?? this.#refusal(frame.id, new Refused("conflict", "It was sent before.")));
      return;
    }
    try {
      this.#commit(frame, client);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      socket.say(this.#refusal(frame.id, error));
    }
  }

  #commit(frame: SentEditFrame, client: string): EditFrame {
    const work = new Working(this.state);
    const touched = this.#touched.length;
    const ops: Operation[] = [];
    try {
      for (const op of frame.ops) {
        ops.push(this.#checked(work, op));
        this.#touch(ops.at(-1) as Operation);
      }
    } catch (error) {
      this.#touched.length = touched;
      throw error;
    }
    this.seq += 1;
    this.state = work.state();
    const edit = {
      type: "edit",
      seq: this.seq,
      by: { id: client, name: client },
      client,
      id: frame.id,
      at: AT,
      ops,
    } as const;
    for (const op of ops) this.#bury(op, edit);
    this.log.push(edit);
    if (!client.startsWith("rest")) this.lastIds.set(client, frame.id);
    this.#tell(edit);
    return edit;
  }

  #checked(work: Working, op: Operation): Operation {
    try {
      if (op.op === "text.edit") this.#refuseOldVersion(op.id, op.path, op.version);
      const complete = checked(work, op);
      replay(work, [complete]);
      return complete;
    } catch (error) {
      const missing = "id" in op && op.id !== undefined && this.#gone.get(op.id);
      const isGone = error instanceof Refused && error.error === "not_found" && missing;
      throw isGone ? Object.assign(new Refused("gone", "It was removed."), { gone: missing }) : error;
    }
  }

  #refuseOldVersion(id: string, path: Path, version: number | undefined): void {
    if (version === undefined) throw new Refused("bad_request", "A version is missing.");
    const touched = this.#touched.some((one) => one.seq > version && one.id === id && overlap(one.path, path));
    if (touched || version > this.seq || this.#touchedAll > version) throw new Refused("conflict", "It was touched.");
  }

  #touch(op: Operation): void {
    const seq = this.seq + 1;
    if (op.op === "draft.replace") this.#touchedAll = seq;
    if (op.op === "node.add" || op.op === "node.remove") this.#touched.push({ id: op.id, path: [], seq });
    if (op.op === "node.rename") this.#touched.push({ id: op.to, path: [], seq });
    if (op.op === "node.set" || op.op === "node.unset" || op.op === "text.edit") {
      this.#touched.push({ id: op.id, path: op.path, seq });
    }
  }

  #bury(op: Operation, { by, at, seq }: EditFrame): void {
    if (op.op === "node.remove") this.#gone.set(op.id, { id: op.id, by, at, seq });
  }

  #refusal(id: number, { error, message, details, ...more }: Refused & { gone?: Gone }): RefusedFrame {
    return { type: "refused", id, error, message, details, seq: this.seq, ...(more.gone ? { gone: more.gone } : {}) };
  }

  #show(socket: FakeSocket, state: ReturnType<FakeSocket["shown"]>["state"]): void {
    socket.state = state;
    this.#tell({ type: "presence", changes: { [socket.peer]: socket.shown() } });
  }

  #tell(frame: ServerFrame): void {
    for (const socket of this.sockets) socket.say(frame);
  }
}

/** A socket whose frames wait on both ways until a test lets them through. */
export class FakeSocket implements Socket {
  readyState = 0;
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  client = "";
  peer = "";
  state = {};
  readonly up: string[] = [];
  readonly down: string[] = [];
  /** All sockets ever made, by address, for tests to find them. */
  static readonly all = new Map<string, FakeSocket[]>();

  constructor(
    readonly server: FakeServer,
    readonly url: string,
    readonly online: () => boolean,
  ) {
    FakeSocket.all.set(url, [...(FakeSocket.all.get(url) ?? []), this]);
  }

  static latest(url: string): FakeSocket | undefined {
    return FakeSocket.all.get(url)?.at(-1);
  }

  shown() {
    return { id: this.client, name: this.client, color: "#888888", state: this.state };
  }

  send(data: string): void {
    this.up.push(data);
  }

  say(frame: ServerFrame): void {
    this.down.push(JSON.stringify(frame));
  }

  close(): void {
    this.readyState = 3;
    this.server.leave(this);
  }

  /** Open, or fail to; what waits goes nowhere before that. */
  open(): boolean {
    if (this.readyState !== 0) return this.readyState === 1;
    if (!this.online() || this.server.down) {
      this.cut(1006);
      return false;
    }
    this.readyState = 1;
    this.onopen?.({} as never);
    return true;
  }

  /** Let the next frame through to the server. */
  letUp(): boolean {
    if (!this.open()) return false;
    const data = this.up.shift();
    if (data !== undefined) this.server.hear(this, JSON.parse(data));
    return data !== undefined;
  }

  /** Let the next frame through to the client. */
  letDown(): boolean {
    const data = this.readyState === 1 ? this.down.shift() : undefined;
    if (data !== undefined) this.onmessage?.({ data } as never);
    return data !== undefined;
  }

  /** The connection is lost, with all that was on its way. */
  cut(code = 1006, reason = ""): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.server.leave(this);
    this.onclose?.({ code, reason } as never);
  }

  letAll(): void {
    for (let moved = true; moved; ) moved = this.letUp() || this.letDown();
  }
}

/** For tests that want a state after some edits, without a server. */
export function after(definition: SentDefinition, ...ops: Operation[]): DraftState {
  const work = new Working(load(definition));
  apply(work, ops);
  return work.state();
}
