/** Values kept; beyond it all are dropped. */
const MAXIMUM_VALUES = 4096;

interface Entry<Value> {
  readonly key: readonly number[];
  readonly value: Value;
}

/**
 * Cache of values computed from numbers, such as the plan of a dispatch from its sizes: training asks
 * for the same plans step after step. Equal keys give the same object, so that a plan that has not changed
 * is known by its identity.
 */
export class Memo<Value> {
  readonly #entries = new Map<number, Entry<Value>[]>();
  #count = 0;

  /** Value of `make` for this key; it must depend on nothing else. */
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
