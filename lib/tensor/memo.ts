/** Values kept; beyond it the memory starts anew. */
const MAXIMUM_VALUES = 4096;

interface Entry<Value> {
  readonly key: readonly number[];
  readonly value: Value;
}

/**
 * Remembers what was worked out from numbers, such as the plan of a dispatch from the sizes it is for:
 * training asks for the same plans step after step. The same key gives the same object, by which those
 * who are given it know it again.
 */
export class Memo<Value> {
  readonly #entries = new Map<number, Entry<Value>[]>();
  #count = 0;

  /** What `make` made for this key; it must depend on nothing else. */
  get(key: readonly number[], make: () => Value): Value {
    let hash = key.length;
    for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + key[i]) | 0;
    let entries = this.#entries.get(hash);
    if (entries) {
      for (let i = 0; i < entries.length; i++) {
        if (sameKey(entries[i].key, key)) return entries[i].value;
      }
    }
    if (this.#count === MAXIMUM_VALUES) {
      this.#entries.clear();
      this.#count = 0;
      entries = undefined;
    }
    if (!entries) this.#entries.set(hash, entries = []);
    const value = make();
    entries.push({ key, value });
    this.#count++;
    return value;
  }
}

function sameKey(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
