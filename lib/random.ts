import { xoroshiro128plus, xoroshiro128plusFromState } from "pure-rand/generator/xoroshiro128plus";
import type { RandomGenerator } from "pure-rand/types/RandomGenerator";

/**
 * FNV-1a and MurmurHash3's finaliser: a string to 32 bits, so that a stream can be seeded by name.
 * FNV-1a alone hardly mixes the last byte: streams named "box/1" and "box/2" would start alike.
 */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/**
 * A seeded stream of random numbers (xoroshiro128+ of npm `pure-rand`): the same seed gives the same
 * numbers on every machine.
 *
 * @example
 * ```ts
 * const random = new Random(7);
 * const order = random.shuffle([1, 2, 3]);
 * const boxes = random.fork("boxes"); // its numbers do not depend on how much `random` was used
 * ```
 */
export class Random {
  readonly #seed: string;
  #generator: RandomGenerator;

  /**
   * Starts a stream.
   *
   * @param seed A number or a name; equal seeds give equal streams.
   */
  constructor(seed: number | string) {
    this.#seed = String(seed);
    this.#generator = xoroshiro128plus(hash(this.#seed));
  }

  /** A stream of its own, named `label`, that depends on this stream's seed but not on its use. */
  fork(label: string): Random {
    return new Random(`${this.#seed}/${label}`);
  }

  /** State of the stream: four words of 32 bits. */
  get state(): readonly number[] {
    return this.#generator.getState();
  }

  /** Goes on from where a stream stood. Forks still depend on the seed alone. */
  restore(state: readonly number[]): void {
    this.#generator = xoroshiro128plusFromState(state);
  }

  /** Uniform in [0, 1), with 32 random bits. */
  uniform(): number {
    return (this.#generator.next() >>> 0) / 2 ** 32;
  }

  /** Uniform in [low, high). */
  uniformIn(low: number, high: number): number {
    return low + (high - low) * this.uniform();
  }

  /** A uniform integer in [0, n). */
  int(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** Standard normal (Box-Muller). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A shuffled copy (Fisher-Yates). */
  shuffle<T>(items: readonly T[]): T[] {
    const shuffled = [...items];
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
    }
    return shuffled;
  }
}
