import { createInterface } from "node:readline";
import process from "node:process";

/** A product C = A B, or A Bᵀ where B is stored as [n, k]. */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeB: boolean;
}

/** A request to a peer: multiply so often, then wait once. */
export interface Request extends Product {
  readonly repeats: number;
}

/** Answer of a peer: milliseconds for all repeats, and at the first time the last element of C. */
export interface Answer {
  readonly milliseconds: number;
  readonly last: number | null;
}

/** A peer's multiplication of operands that lie on its device. */
export interface Multiplier {
  /** Starts one product. */
  multiply(): void | Promise<void>;
  /** Waits for all that was started. */
  wait(): Promise<void>;
  /** The last product, flat. */
  result(): Promise<ArrayLike<number>>;
}

/** Element i of an operand: the same numbers for everyone. */
export function operand(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => ((i * 7 + seed) % 13) / 13 - 0.5);
}

/** Says that it is ready, then answers requests, a line of JSON each, until the input ends. */
export async function serve(prepare: (product: Product) => Promise<Multiplier>): Promise<void> {
  const prepared = new Map<string, Multiplier>();
  console.log(JSON.stringify({ ready: true }));
  for await (const line of createInterface({ input: process.stdin })) {
    const { m, n, k, transposeB, repeats } = JSON.parse(line) as Request;
    const product = { m, n, k, transposeB };
    const key = JSON.stringify(product);
    const multiplier = prepared.get(key) ?? await prepare(product);
    const first = !prepared.has(key);
    prepared.set(key, multiplier);
    const start = performance.now();
    for (let i = 0; i < repeats; i++) await multiplier.multiply();
    await multiplier.wait();
    const milliseconds = performance.now() - start;
    const last = first ? (await multiplier.result())[m * n - 1] : null;
    console.log(JSON.stringify({ milliseconds, last } satisfies Answer));
  }
}
