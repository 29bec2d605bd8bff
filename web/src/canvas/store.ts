import { useSyncExternalStore } from "react";

/** Something whose value changes, and that tells when it does. */
export interface Readable<T> {
  get: () => T;
  subscribe: (listener: () => void) => () => void;
}

/** A value that many components look at, each at its part of it. */
export class Store<T> implements Readable<T> {
  #value: T;
  readonly #listeners = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  readonly get = (): T => this.#value;

  /** The same value again tells nobody. */
  readonly set = (value: T): void => {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener();
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
}

/** A part of the value; the component renders again only when that part is another one. */
export function usePart<T, P>({ subscribe, get }: Readable<T>, part: (value: T) => P): P {
  return useSyncExternalStore(subscribe, () => part(get()));
}

/** `next` with the values of `before` wherever the two are alike, so that who looks at one of them sees no change. */
export function reusing<V>(
  before: ReadonlyMap<string, V>,
  next: ReadonlyMap<string, V>,
  alike: (left: V, right: V) => boolean,
): ReadonlyMap<string, V> {
  let same = before.size === next.size;
  const kept = new Map<string, V>();
  for (const [key, value] of next) {
    const old = before.get(key);
    const reused = old !== undefined && alike(old, value);
    kept.set(key, reused ? old : value);
    same &&= reused;
  }
  return same ? before : kept;
}
