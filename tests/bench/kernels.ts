import type { Gpu } from "../../lib/gpu/gpu.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { qkvAttention } from "../../lib/tensor/ops/attention.ts";
import { depthwiseConv2d } from "../../lib/tensor/ops/depthwise_conv2d.ts";
import { layerNorm } from "../../lib/tensor/ops/layer_norm.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { softmax } from "../../lib/tensor/ops/softmax.ts";
import { gelu } from "../../lib/tensor/ops/unary.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { hashed } from "../sam/seeded.ts";
import { interleaved, onDevice } from "./measure.ts";

/** A kernel at one shape, and how much there is to do. */
interface KernelCase {
  readonly name: string;
  /** Floating-point operations, for kernels that compute. */
  readonly flops?: number;
  /** Bytes that must be read and written, for kernels that move. */
  readonly bytes?: number;
  readonly shapes: readonly (readonly number[])[];
  readonly run: (...tensors: Tensor[]) => unknown;
}

/** What a kernel reached. */
export interface KernelResult {
  /** The kernel and its shape. */
  readonly name: string;
  /** Of one dispatch, or of all that make the operation. */
  readonly milliseconds: number;
  /** Speed, in `unit`. */
  readonly speed: number;
  /** What the speed counts. */
  readonly unit: "GFLOP/s" | "GB/s";
}

type Layout = "NN" | "NT" | "TN";

/** m, n, k of a product, and which operand is stored transposed. */
function product(
  label: string,
  [m, n, k]: readonly [number, number, number],
  layout: Layout = "NN",
): KernelCase {
  const transposeA = layout === "TN";
  const transposeB = layout === "NT";
  return {
    name: `matmul ${layout} ${m} x ${n} x ${k}${label && `, ${label}`}`,
    flops: 2 * m * n * k,
    shapes: [transposeA ? [k, m] : [m, k], transposeB ? [n, k] : [k, n]],
    run: (a, b) => matmul(a, b, { transposeA, transposeB }),
  };
}

/** Self-attention of windows of `tokens` tokens: q kᵀ, softmax with bias, times v. */
function attention(
  label: string,
  { windows, tokens, heads }: { windows: number; tokens: number; heads: number },
): KernelCase {
  return {
    name: `attention ${windows} x ${heads} heads x ${tokens}², ${label}`,
    flops: 4 * windows * heads * tokens * tokens * 32,
    shapes: [[windows, tokens, 96 * heads], [heads, tokens, tokens]],
    run: (qkv, bias) => qkvAttention(qkv, { heads, layout: "per-head", bias }),
  };
}

/** MobileSAM's shapes at side 256, batch 4. */
const CASES: readonly KernelCase[] = [
  product("", [512, 512, 512]),
  product("", [1024, 1024, 1024]),
  product("layers.0 conv1", [16384, 256, 64], "NT"),
  product("layers.1 mlp.fc1", [4096, 512, 128], "NT"),
  product("layers.2 attn.qkv", [3136, 480, 160], "NT"),
  product("layers.3 mlp.fc1", [1024, 1280, 320], "NT"),
  product("layers.1 mlp.fc1, dx", [4096, 128, 512], "NN"),
  product("layers.3 mlp.fc1, dx", [1024, 320, 1280], "NN"),
  product("layers.2 attn.qkv, dB of LoRA-16", [480, 16, 3136], "TN"),
  product("layers.3 mlp.fc1, dW", [1280, 320, 1024], "TN"),
  attention("layers.1", { windows: 100, tokens: 49, heads: 4 }),
  attention("layers.2", { windows: 16, tokens: 196, heads: 5 }),
  attention("layers.3", { windows: 36, tokens: 49, heads: 10 }),
  {
    name: "depthwise 3x3, 4 x 64 x 64 x 256",
    bytes: 2 * 4 * 4 * 64 * 64 * 256,
    shapes: [[4, 64, 64, 256], [9, 256]],
    run: (x, weight) =>
      depthwiseConv2d(x, weight, {
        window: { kernel: [3, 3], stride: 1, padding: 1 },
        bias: null,
      }),
  },
  {
    name: "LayerNorm 4096 x 128",
    bytes: 2 * 4 * 4096 * 128,
    shapes: [[4096, 128], [128], [128]],
    run: (x, weight, bias) => layerNorm(x, weight, bias),
  },
  {
    name: "softmax 15680 x 196",
    bytes: 2 * 4 * 15680 * 196,
    shapes: [[15680, 196]],
    run: (x) => softmax(x),
  },
  {
    name: "add 4 x 64 x 64 x 256",
    bytes: 3 * 4 * 4 * 64 * 64 * 256,
    shapes: [[4, 64, 64, 256], [4, 64, 64, 256]],
    run: (a, b) => add(a, b),
  },
  {
    name: "GELU 4 x 64 x 64 x 256",
    bytes: 2 * 4 * 4 * 64 * 64 * 256,
    shapes: [[4, 64, 64, 256]],
    run: (x) => gelu(x),
  },
];

/** Times every kernel, all in turns. */
export async function benchKernels(
  gpu: Gpu,
  { rounds }: { rounds: number },
): Promise<KernelResult[]> {
  using _ = new Scope(gpu);
  const contestants = Object.fromEntries(CASES.map(({ name, shapes, run }) => {
    const tensors = shapes.map((shape, i) => {
      const size = shape.reduce((product, side) => product * side, 1);
      return Tensor.from(gpu, Float32Array.from(hashed(`${name} ${i}`, size)), shape);
    });
    const encode = () => {
      using _ = new Scope(gpu);
      noGrad(() => run(...tensors));
    };
    return [name, onDevice(gpu, encode)];
  }));
  const times = await interleaved(contestants, { rounds });
  return CASES.map(({ name, flops, bytes }) => ({
    name,
    milliseconds: times[name],
    speed: (flops ?? bytes!) / times[name] / 1e6,
    unit: flops ? "GFLOP/s" : "GB/s",
  }));
}
