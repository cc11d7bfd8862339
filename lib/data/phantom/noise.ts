import type { Random } from "../../random.ts";

const SIDE = 32; // the lattice repeats after so many nodes

/** Smooth random numbers over space, about -1 to 1 with mean 0: a lattice of normals, interpolated. */
export class SmoothNoise {
  readonly #lattice = new Float32Array(SIDE ** 3);

  /** Draws the lattice. */
  constructor(random: Random) {
    for (let i = 0; i < this.#lattice.length; i++) this.#lattice[i] = 0.7 * random.normal();
  }

  /** The value at a point given in wavelengths (lattice nodes one apart). */
  at(x: number, y: number, z: number): number {
    const i = Math.floor(x), j = Math.floor(y), k = Math.floor(z);
    const fx = fade(x - i), fy = fade(y - j), fz = fade(z - k);
    const lattice = this.#lattice;
    const i0 = i & 31, i1 = (i + 1) & 31;
    const j0 = (j & 31) << 5, j1 = ((j + 1) & 31) << 5;
    const k0 = (k & 31) << 10, k1 = ((k + 1) & 31) << 10;
    const near = mix(
      mix(lattice[i0 + j0 + k0], lattice[i1 + j0 + k0], fx),
      mix(lattice[i0 + j1 + k0], lattice[i1 + j1 + k0], fx),
      fy,
    );
    const far = mix(
      mix(lattice[i0 + j0 + k1], lattice[i1 + j0 + k1], fx),
      mix(lattice[i0 + j1 + k1], lattice[i1 + j1 + k1], fx),
      fy,
    );
    return mix(near, far, fz);
  }
}

/** White normal noise, fast: a table of normals read at pseudo-random places. */
export class WhiteNoise {
  readonly #table = new Float32Array(1 << 16);
  #state: number;

  /** Draws the table. */
  constructor(random: Random) {
    for (let i = 0; i < this.#table.length; i++) this.#table[i] = random.normal();
    this.#state = random.int(2 ** 32) | 0;
  }

  /** The next standard normal. */
  next(): number {
    // A linear congruential generator; its high bits are the good ones.
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) | 0;
    return this.#table[this.#state >>> 16];
  }
}

function fade(t: number): number {
  return t * t * (3 - 2 * t);
}

function mix(a: number, b: number, t: number): number {
  return a + t * (b - a);
}
