/**
 * A map whose keys are sequences, walked one part of the key at a time. Unlike a map by strings a
 * lookup builds no key, so it costs no allocation.
 */
export class Trie<Part, Value> {
  /** Value under the parts that led here. */
  value: Value | undefined = undefined;
  readonly #next = new Map<Part, Trie<Part, Value>>();

  /** The node one part further, created by the first call. */
  at(part: Part): Trie<Part, Value> {
    let next = this.#next.get(part);
    if (!next) this.#next.set(part, next = new Trie());
    return next;
  }

  /** Removes every key that begins with the parts that led here. */
  clear(): void {
    this.value = undefined;
    this.#next.clear();
  }
}
