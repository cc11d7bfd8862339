import { defineKernel, u32 } from "../../kernels/spec.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { qkvAttention } from "../../lib/tensor/ops/attention.ts";
import { decomposedAttention } from "../../lib/tensor/ops/decomposed_attention.ts";
import { depthwiseConv2d } from "../../lib/tensor/ops/depthwise_conv2d.ts";
import { layerNorm } from "../../lib/tensor/ops/layer_norm.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { softmax } from "../../lib/tensor/ops/softmax.ts";
import { gelu } from "../../lib/tensor/ops/unary.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { hashed } from "../sam/seeded.ts";
import type { Ceiling } from "./ceiling.ts";
import { countWork } from "./count.ts";
import { interleaved, onDevice, type Timed } from "./measure.ts";
import copySource from "./copy.wgsl" with { type: "text" };

const copyKernel = defineKernel({
  name: "copy",
  files: { "copy.wgsl": copySource },
  buffers: { x: "read vec4<f32>", out: "read_write vec4<f32>" },
  params: u32("count"),
});

/** Purposes of kernels, by which their ceiling is chosen. */
type Sort = "product" | "attention" | "memory";

/** A kernel at one shape. */
interface KernelCase {
  readonly name: string;
  readonly sort: Sort;
  readonly shapes: readonly (readonly number[])[];
  readonly run: (...tensors: Tensor[]) => unknown;
  /** The same product for a library. */
  readonly product?: Shape;
  /** Operations for each element of the first operand, of kernels that compute no product. */
  readonly operations?: number;
}

/** Speed that a kernel reached. */
export interface KernelResult {
  /** The kernel and its shape. */
  readonly name: string;
  /** Its ceiling: that of computing or that of memory. */
  readonly sort: Sort;
  /** Of one dispatch, or of all that make the operation. */
  readonly milliseconds: number;
  /** Floating-point operations, 2 x multiply-adds counted from what was dispatched. */
  readonly flops: number;
  /** Bytes that its dispatches must move at least. */
  readonly bytes: number;
  /** Milliseconds that the ceiling's library took for the same product. */
  readonly ceilingMilliseconds: number | null;
}

/** m, n and k. */
type Sizes = readonly [m: number, n: number, k: number];

/** A product as the ceiling's library computes it too. */
interface Shape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeB: boolean;
}

type Layout = "NN" | "NT" | "TN";

/** m, n, k of a product, and which operand is stored transposed. */
function product(label: string, [m, n, k]: Sizes, layout: Layout = "NN"): KernelCase {
  const transposeA = layout === "TN";
  const transposeB = layout === "NT";
  return {
    name: `matmul ${layout} ${m} x ${n} x ${k}${label && `, ${label}`}`,
    sort: "product",
    shapes: [transposeA ? [k, m] : [m, k], transposeB ? [n, k] : [k, n]],
    run: (a, b) => matmul(a, b, { transposeA, transposeB }),
    product: { m, n, k, transposeB },
  };
}

/** Self-attention of windows of `tokens` tokens: q kᵀ, softmax with bias, times v. */
function attention(
  label: string,
  { windows, tokens, heads }: { windows: number; tokens: number; heads: number },
): KernelCase {
  return {
    name: `attention ${windows} x ${heads} heads x ${tokens}², ${label}`,
    sort: "attention",
    shapes: [[windows, tokens, 96 * heads], [heads, tokens, tokens]],
    run: (qkv, bias) => qkvAttention(qkv, { heads, layout: "per-head", bias }),
  };
}

/** ViT-B's attention over grids of `side` x `side` tokens, with decomposed relative positions. */
function gridAttention(
  label: string,
  { grids, side }: { grids: number; side: number },
): KernelCase {
  const heads = 12;
  return {
    name: `attention ${grids} x ${heads} heads x ${side * side}², ${label}`,
    sort: "attention",
    shapes: [[grids, side * side, 192 * heads], [2 * side - 1, 64], [2 * side - 1, 64]],
    run: (qkv, relPosH, relPosW) =>
      decomposedAttention(qkv, { relPosH, relPosW }, { heads, grid: [side, side] }),
  };
}

/**
 * MobileSAM's shapes at side 256, batch 4, and ViT-B's at side 1024, batch 1; `deno task profile`
 * lists those of any step.
 */
const CASES: readonly KernelCase[] = [
  product("", [512, 512, 512]),
  product("", [1024, 1024, 1024]),
  product("MobileSAM layers.0 conv1", [16384, 256, 64], "NT"),
  product("MobileSAM layers.1 attn.qkv", [4900, 384, 128], "NT"),
  product("MobileSAM layers.1 mlp.fc1", [4096, 512, 128], "NT"),
  product("MobileSAM layers.2 attn.qkv", [3136, 480, 160], "NT"),
  product("MobileSAM layers.2 attn.proj", [3136, 160, 160], "NT"),
  product("MobileSAM layers.3 mlp.fc1", [1024, 1280, 320], "NT"),
  product("MobileSAM layers.1 mlp.fc1, dx", [4096, 128, 512]),
  product("MobileSAM layers.3 mlp.fc1, dx", [1024, 320, 1280]),
  product("MobileSAM layers.2 attn.qkv, LoRA dB", [480, 16, 3136], "TN"),
  product("MobileSAM layers.3 mlp.fc1, dW", [1280, 320, 1024], "TN"),
  product("ViT-B attn.qkv", [4096, 2304, 768], "NT"),
  product("ViT-B attn.proj", [4096, 768, 768], "NT"),
  product("ViT-B mlp.lin1", [4096, 3072, 768], "NT"),
  product("ViT-B mlp.lin2", [4096, 768, 3072], "NT"),
  product("ViT-B mlp.lin2, dx", [4096, 3072, 768]),
  attention("MobileSAM layers.1", { windows: 100, tokens: 49, heads: 4 }),
  attention("MobileSAM layers.2", { windows: 16, tokens: 196, heads: 5 }),
  attention("MobileSAM layers.3", { windows: 36, tokens: 49, heads: 10 }),
  gridAttention("ViT-B windows", { grids: 25, side: 14 }),
  gridAttention("ViT-B global at 512", { grids: 1, side: 32 }),
  {
    name: "copy 64 MiB",
    sort: "memory",
    shapes: [[2 ** 24]],
    run: (x) => {
      const out = Tensor.empty(x.gpu, x.shape);
      const count = x.size / 4;
      x.gpu.run(copyKernel, {
        buffers: { x: x.buffer, out: out.buffer },
        params: { count },
        workgroups: Gpu.grid(Math.ceil(count / 64)),
      });
    },
  },
  {
    name: "depthwise 3x3, 4 x 64 x 64 x 256",
    sort: "memory",
    shapes: [[4, 64, 64, 256], [9, 256]],
    run: (x, weight) =>
      depthwiseConv2d(x, weight, {
        window: { kernel: [3, 3], stride: 1, padding: 1 },
        bias: null,
      }),
  },
  {
    name: "LayerNorm 4096 x 768",
    sort: "memory",
    shapes: [[4096, 768], [768], [768]],
    run: (x, weight, bias) => layerNorm(x, weight, bias),
    operations: 8, // two sums, centring, scaling, the affine
  },
  {
    name: "softmax 15680 x 196",
    sort: "memory",
    shapes: [[15680, 196]],
    run: (x) => softmax(x),
    operations: 5, // maximum, difference, exponential, sum, quotient
  },
  {
    name: "add 4 x 64 x 64 x 256",
    sort: "memory",
    shapes: [[4, 64, 64, 256], [4, 64, 64, 256]],
    run: (a, b) => add(a, b),
    operations: 1,
  },
  {
    name: "GELU 4 x 64 x 64 x 256",
    sort: "memory",
    shapes: [[4, 64, 64, 256]],
    run: (x) => gelu(x),
    operations: 40, // two polynomials of degree 7, an exponential, the choice
  },
];

/** A contestant's name for the ceiling's library at a kernel's shape. */
const ofLibrary = (name: string) => `${name}, library`;

/** Times every kernel, all in turns, each product beside that of the ceiling's library. */
export async function benchKernels(
  gpu: Gpu,
  { rounds, ceiling }: { rounds: number; ceiling: Ceiling | null },
): Promise<KernelResult[]> {
  using _ = new Scope(gpu);
  const contestants: Record<string, Timed> = {};
  const encoders = new Map<string, () => void>();
  for (const { name, shapes, run, product } of CASES) {
    const tensors = shapes.map((shape, i) => {
      const size = shape.reduce((product, side) => product * side, 1);
      return Tensor.from(gpu, Float32Array.from(hashed(`${name} ${i}`, size)), shape);
    });
    const encode = () => {
      using _ = new Scope(gpu);
      noGrad(gpu, () => run(...tensors));
    };
    encoders.set(name, encode);
    contestants[name] = onDevice(gpu, encode);
    if (ceiling && product) contestants[ofLibrary(name)] = ceiling.timed(product);
  }
  const times = await interleaved(contestants, { rounds });
  return CASES.map(({ name, sort, shapes, operations }) => {
    const { flops, bytes } = countWork(gpu, encoders.get(name)!).total;
    const elements = shapes[0].reduce((product, side) => product * side, 1);
    return {
      name,
      sort,
      milliseconds: times[name],
      flops: flops + (operations ?? 0) * elements,
      bytes,
      ceilingMilliseconds: times[ofLibrary(name)] ?? null,
    };
  });
}
