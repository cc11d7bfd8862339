/** Text of a line for each of `count` numbers. */
function each(count: number, line: (j: number) => string): string {
  return Array.from({ length: count }, (_, j) => line(j)).join("\n  ");
}

/** Buffers that a kernel takes own tokens and others from, and those that it writes own tokens to. */
export type RegisterUse = Readonly<Record<"own" | "others" | "written", readonly string[]>>;

/**
 * WGSL of the registers in which the kernels for CPU drivers hold channels, and of what is computed with them.
 *
 * A workgroup is one subgroup of so many lanes, the width of a vector register. Each lane owns 4 tokens. Of 4 others
 * every element is loaded by one lane only, and subgroupBroadcast shows it to all: a load feeds 4 `lanes`
 * multiply-adds. `Own` holds four channels of the own tokens in a matrix: [token][channel] in operands,
 * [channel][token] in sums. `Others` holds a lane's share of four others: lane l has channels of other l % 4,
 * four of lanes / 4 in a vector.
 *
 * It is written out here because no loop says the same: a compiler does not keep an array in registers that a
 * loop indexes, which costs five times the time, and branches for the most channels that there can be, of
 * which all but some are dead, make pipelines in 2 s instead of 50 ms (llvmpipe of Mesa 22.3).
 */
export function registers(
  sizes: { readonly depth: number; readonly lanes: number },
  { own, others, written }: RegisterUse,
): string {
  const text = new RegisterText(sizes);
  return [
    text.common(),
    text.weighted("add_weighted", { parameter: "", factor: "" }),
    text.weighted("fade_and_add_weighted", { parameter: " fade: vec4<f32>,", factor: " * fade" }),
    PLAIN,
    ...own.map((name) => text.ownOperand(name)),
    ...others.map((name) => text.otherOperand(name)),
    ...written.map((name) => text.gradient(name)),
  ].join("");
}

/** Functions that are the same for any number of channels and lanes. */
const PLAIN = `
fn outer(sums: mat4x4<f32>, fade: vec4<f32>, weights: vec4<f32>, x: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    sums[0] * fade + weights * x.x, sums[1] * fade + weights * x.y,
    sums[2] * fade + weights * x.z, sums[3] * fade + weights * x.w,
  );
}

fn of_token(block: mat4x4<f32>, token: u32) -> vec4<f32> {
  return vec4<f32>(block[0][token], block[1][token], block[2][token], block[3][token]);
}
`;

/** Four lanes' values of `x`, from one lane on, shown to all. */
const shown = (x: string, lane: number) =>
  `vec4<f32>(${[0, 1, 2, 3].map((i) => `subgroupBroadcast(${x}, ${lane + i}u)`).join(", ")})`;

/** The parts of {@linkcode registers} that depend on the numbers of channels and lanes. */
class RegisterText {
  /** Vectors of four channels. */
  readonly #quads: number;
  /** Lanes that hold one of four others together. */
  readonly #width: number;
  /** Vectors of a lane's share of four others. */
  readonly #vectors: number;

  constructor({ depth, lanes }: { readonly depth: number; readonly lanes: number }) {
    this.#quads = Math.ceil(depth / 4);
    this.#width = lanes / 4;
    this.#vectors = Math.ceil(this.#quads / this.#width);
  }

  /** The vector and the first lane that hold channels 4 j .. 4 j + 3 of the others. */
  #place(j: number): [vector: number, lane: number] {
    return [Math.floor(j / this.#width), 4 * (j % this.#width)];
  }

  common(): string {
    return `
alias Own = array<mat4x4<f32>, ${this.#quads}>;
alias Others = array<vec4<f32>, ${this.#vectors}>;

// Products of own tokens with others, summed over all channels: columns are others. Each of the others is used up
// before the next is shown: for four there are too few registers.
fn products(own: ptr<private, Own>, others: ptr<function, Others>) -> mat4x4<f32> {
  var s = mat4x4<f32>();
  ${
      each(4 * this.#quads, (i) => {
        const [vector, lane] = this.#place(i >> 2);
        return `s[${i % 4}] += subgroupBroadcast((*others)[${vector}], ${lane + i % 4}u) * (*own)[${
          i >> 2
        }];`;
      })
    }
  return s;
}
`;
  }

  weighted(name: string, fade: { parameter: string; factor: string }): string {
    return `
// Adds the others, weighted by a matrix whose columns are others.
fn ${name}(sums: ptr<private, Own>,${fade.parameter} weights: mat4x4<f32>, others: ptr<function, Others>) {
  ${
      each(4 * this.#quads, (i) => {
        const [j, c] = [i >> 2, i % 4];
        const [vector, lane] = this.#place(j);
        const sum = `(*sums)[${j}][${c}]`;
        return `${sum} = ${sum}${fade.factor} + weights * ${
          shown(`(*others)[${vector}][${c}]`, lane)
        };`;
      })
    }
}
`;
  }

  ownOperand(name: string): string {
    return `
// Loads own tokens that start at \`at\`.
fn own_${name}(own: ptr<private, Own>, at: vec4<u32>, factor: f32) {
  ${
      each(this.#quads, (j) =>
        `(*own)[${j}] = factor * mat4x4<f32>(${
          ["x", "y", "z", "w"].map((i) =>
            `${name}_channels(at.${i}, ${j}u)`
          ).join(", ")
        });`)
    }
}
`;
  }

  otherOperand(name: string): string {
    return `
// Loads the lane's share of others, of which its own one starts at \`at\`.
fn others_${name}(others: ptr<function, Others>, at: u32, lane: u32) {
  ${
      each(this.#vectors, (r) =>
        `(*others)[${r}] = ${name}_channels(at, min(${r * this.#width}u + lane / 4, QUADS - 1));`)
    }
}

// Products of own tokens with one other that starts at \`at\`.
fn products_with_${name}(own: ptr<private, Own>, at: u32) -> vec4<f32> {
  var s = vec4<f32>();
  ${each(this.#quads, (j) => `s += ${name}_channels(at, ${j}u) * (*own)[${j}];`)}
  return s;
}

// sums = fade sums + weights other, for one other that starts at \`at\`.
fn add_weighted_${name}(sums: ptr<private, Own>, fade: vec4<f32>, weights: vec4<f32>, at: u32) {
  ${
      each(this.#quads, (j) =>
        `(*sums)[${j}] = outer((*sums)[${j}], fade, weights, ${name}_channels(at, ${j}u));`)
    }
}
`;
  }

  gradient(name: string): string {
    return `
// Stores one of the own tokens, times a factor, from \`at\` on.
fn store_own_${name}(own: ptr<private, Own>, token: u32, factor: f32, at: u32) {
  ${each(this.#quads, (j) => `set_${name}(at, ${j}u, factor * of_token((*own)[${j}], token));`)}
}
`;
  }
}
