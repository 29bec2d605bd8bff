// Who is here, and what one shows of oneself: at most 20 times a second, the last state always.

import type { JoinedFrame, Peer, PresenceChangesFrame } from "./frames.ts";
import { equal, type Json, type JsonObject } from "./json.ts";

const BETWEEN_MS = 50;

export class Presence {
  /** Everybody else, by peer. Another map after each change. */
  peers: ReadonlyMap<string, Peer> = new Map();
  state: JsonObject = {};
  #you: string | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sentAt = Number.NEGATIVE_INFINITY;
  readonly #send: (state: JsonObject) => void;

  constructor(send: (state: JsonObject) => void) {
    this.#send = send;
  }

  joined({ you, presence }: JoinedFrame): void {
    this.#you = you.peer;
    this.peers = new Map(Object.entries(presence).filter(([peer]) => peer !== you.peer));
    if (Object.keys(this.state).length > 0) this.#now();
  }

  /** Answers whether anybody else has changed: one hears of oneself, too. */
  changed({ changes }: PresenceChangesFrame): boolean {
    if (Object.keys(changes).every((peer) => peer === this.#you)) return false;
    const peers = new Map(this.peers);
    for (const [peer, state] of Object.entries(changes)) {
      if (peer === this.#you) continue;
      if (state === null) peers.delete(peer);
      else peers.set(peer, state);
    }
    this.peers = peers;
    return true;
  }

  /** Nobody is known while there is no connection. Answers whether that changes anything. */
  lost(): boolean {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.peers.size === 0) return false;
    this.peers = new Map();
    return true;
  }

  /** Change what one shows of oneself: keys that are not named stay, those that are null or undefined go. */
  set(patch: { readonly [key: string]: Json | undefined }): void {
    const members = Object.entries({ ...this.state, ...patch });
    const state = Object.fromEntries(
      members.filter(([, value]) => value !== undefined && value !== null),
    ) as JsonObject;
    if (equal(state, this.state)) return;
    this.state = state;
    if (this.#you === null || this.#timer !== undefined) return;
    const wait = this.#sentAt + BETWEEN_MS - Date.now();
    if (wait <= 0) this.#now();
    else this.#timer = setTimeout(() => this.#now(), wait);
  }

  #now(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sentAt = Date.now();
    this.#send(this.state);
  }
}
