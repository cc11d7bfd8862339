import type { Kernel } from "../../kernels/spec.ts";
import type { PooledBuffer } from "../../lib/gpu/buffer_pool.ts";
import type { Dispatch, Gpu } from "../../lib/gpu/gpu.ts";

/** A dispatch of any kernel. */
type AnyDispatch = Dispatch<string, string>;

/** Work of dispatches. */
export interface Work {
  /** Number of dispatches. */
  readonly dispatches: number;
  /** Floating-point operations of products: 2 x multiply-adds. */
  readonly flops: number;
  /** Bytes that must be moved at least: every operand of a product, else every buffer bound, once. */
  readonly bytes: number;
}

/** A batch of matrix products, as it was dispatched. */
export interface DispatchedProduct {
  /** Rows of the result. */
  readonly m: number;
  /** Columns of the result. */
  readonly n: number;
  /** Length of the sums. */
  readonly k: number;
  /** Matrices. */
  readonly batch: number;
  /** Transposition of A and B: "NN", "NT", "TN" or "TT". */
  readonly layout: string;
}

/** The work of some piece of code, counted from its dispatches. */
export class Tally {
  /** By the kernel's name. */
  readonly kernels: Map<string, Work> = new Map();
  /** Matrix products with how often each was dispatched, by their shape as text. */
  readonly products: Map<string, DispatchedProduct & { times: number }> = new Map();

  /** Counts dispatches. */
  constructor(dispatches: readonly RecordedDispatch[]) {
    for (const [kernel, dispatch] of dispatches) this.#add(kernel, dispatch);
  }

  #add(kernel: Kernel, dispatch: AnyDispatch): void {
    const product = productOf(dispatch);
    const before = this.kernels.get(kernel.name) ?? { dispatches: 0, flops: 0, bytes: 0 };
    this.kernels.set(kernel.name, {
      dispatches: before.dispatches + 1,
      flops: before.flops + (product ? productFlops(product) : otherFlops(kernel.name, dispatch)),
      bytes: before.bytes + (product ? productBytes(product, dispatch) : boundBytes(dispatch)),
    });
    if (!product) return;
    const { m, n, k, batch, layout } = product;
    const key = `${batch > 1 ? `${batch} x ` : ""}${m} x ${n} x ${k} ${layout}`;
    const times = (this.products.get(key)?.times ?? 0) + 1;
    this.products.set(key, { ...product, times });
  }

  /** All kernels together. */
  get total(): Work {
    return [...this.kernels.values()].reduce((sum, work) => ({
      dispatches: sum.dispatches + work.dispatches,
      flops: sum.flops + work.flops,
      bytes: sum.bytes + work.bytes,
    }), { dispatches: 0, flops: 0, bytes: 0 });
  }
}

/** A dispatch and its kernel, to be counted when nobody waits. */
export type RecordedDispatch = readonly [kernel: Kernel, dispatch: AnyDispatch];

/** Runs code that encodes on a device, and remembers what it dispatches: as good as no time is lost. */
export function recordDispatches(gpu: Gpu, encode: () => void): RecordedDispatch[] {
  const recorded: RecordedDispatch[] = [];
  const run = gpu.run;
  gpu.run = function (kernel, dispatch) {
    recorded.push([kernel, dispatch as AnyDispatch]);
    run.call(gpu, kernel, dispatch);
  } as Gpu["run"];
  try {
    encode();
  } finally {
    gpu.run = run;
  }
  return recorded;
}

/** Runs code that encodes on a device, and counts what it dispatches. */
export function countWork(gpu: Gpu, encode: () => void): Tally {
  return new Tally(recordDispatches(gpu, encode));
}

/** The matrix product that a dispatch computes: kernels of products name their sizes m, n and k. */
function productOf({ params, constants, workgroups }: AnyDispatch): DispatchedProduct | null {
  const { m, n, update_k = 0 } = params;
  if (m === undefined || n === undefined || params.k === undefined) return null;
  const k = params.k + update_k; // LoRA's update runs on in the same sums
  const letter = (transposed: number | boolean | undefined) => transposed ? "T" : "N";
  const layout = letter(constants?.TRANS_A) + letter(constants?.TRANS_B);
  return { m, n, k, batch: workgroups[2] ?? 1, layout };
}

function productFlops({ m, n, k, batch }: DispatchedProduct): number {
  return 2 * m * n * k * batch;
}

/** Bytes of A, B and C; of an operand that the whole batch shares, once. */
function productBytes({ m, n, k, batch }: DispatchedProduct, { params }: AnyDispatch): number {
  const matrices = (operand: "a" | "b") =>
    params[`${operand}_outer`] || params[`${operand}_inner`] ? batch : 1;
  return 4 * (matrices("a") * m * k + matrices("b") * k * n + batch * m * n);
}

/** Operations of the kernels that multiply and add, but are no matrix product. */
function otherFlops(name: string, dispatch: AnyDispatch): number {
  if (name.startsWith("depthwise")) return depthwiseFlops(dispatch);
  if (name.startsWith("attention")) return attentionFlops(name, dispatch);
  return 0;
}

/** One multiply-add for every tap and element of the output, or of its gradient. */
function depthwiseFlops({ buffers, params }: AnyDispatch): number {
  const taps = (params.kernel_h ?? 3) * (params.kernel_w ?? 3);
  return 2 * taps * (buffers.dy ?? buffers.out).size / 4;
}

/**
 * Products of fused attention by the kernel's name, which ends with the channels of a head. The forward
 * pass makes scores and output; the gradients make the scores and their gradient again.
 */
const ATTENTION_PRODUCTS: Readonly<Record<string, number>> = {
  attention: 2,
  attention_query: 3,
  attention_key_value: 4,
  attention_table: 2,
};

/** Fused attention of either family, over the pairs of tokens within each window of each image. */
function attentionFlops(name: string, { params, constants }: AnyDispatch): number {
  const [, kernel, depth] = /^(\D+?)(?:_subgroup|_tiled)?_(\d+)/.exec(name) ?? [];
  const { batch, heads, image_h, image_w } = params;
  const along = (axis: "h" | "w", windows: number) => {
    const size = params[`size_${axis}`];
    const rest = params[`image_${axis}`] - (windows - 1) * size;
    return (windows - 1) * size ** 2 + rest ** 2;
  };
  const pairs = constants?.CROSS
    ? image_h * image_w * params.others
    : along("h", params.windows_y) * along("w", params.windows_x);
  return 2 * (ATTENTION_PRODUCTS[kernel] ?? 0) * batch * heads * pairs * Number(depth);
}

/** Bytes of all buffers of a dispatch, each once. */
function boundBytes({ buffers }: AnyDispatch): number {
  const distinct = new Set<PooledBuffer>(Object.values(buffers));
  return [...distinct].reduce((sum, { size }) => sum + size, 0);
}
