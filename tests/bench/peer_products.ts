import type { Gpu } from "../../lib/gpu/gpu.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import versions from "./peers/deno.json" with { type: "json" };
import { blasPeer, denoPeer } from "./ceiling.ts";
import { interleaved, onDevice, type Timed } from "./measure.ts";
import type { Peer } from "./peers/process.ts";
import { type Answer, operand, type Product } from "./peers/serve.ts";

/** Ours among the libraries. */
export const OURS = "samlora";

/** Place where a library computes: on the adapter that we use, in WebAssembly, or native. */
export type Target = "WebGPU" | "WASM" | "native";

/** A library's speed at a product. */
export interface ProductResult {
  /** m x n x k and the layout of B. */
  readonly product: string;
  /** Of a product, by the library's name. */
  readonly gflops: Readonly<Record<string, number>>;
}

/** Matrix products of all libraries. */
export interface PeerProducts {
  /** The libraries that ran, ours first. */
  readonly libraries: readonly { readonly name: string; readonly target: Target }[];
  /** Those that did not, at one product or at all, and why. */
  readonly failed: readonly { readonly name: string; readonly error: string }[];
  readonly products: readonly ProductResult[];
}

/** Milliseconds for the timed runs of one library at one product: the slowest are run once. */
const BUDGET_MILLISECONDS = 2000;

/** Shapes of MobileSAM at side 256, batch 4, and of ViT-B at side 1024 beside the usual cubes. */
const PRODUCTS: readonly Product[] = [
  { m: 512, n: 512, k: 512, transposeB: false },
  { m: 1024, n: 1024, k: 1024, transposeB: false },
  { m: 4900, n: 384, k: 128, transposeB: true },
  { m: 4096, n: 512, k: 128, transposeB: true },
  { m: 3136, n: 160, k: 160, transposeB: true },
  { m: 1024, n: 1280, k: 320, transposeB: true },
  { m: 4096, n: 2304, k: 768, transposeB: true },
  { m: 4096, n: 768, k: 3072, transposeB: true },
];

/** A package of the folder peers with its version. */
function withVersion(name: string, specifier: keyof typeof versions.imports): string {
  return `${name} ${versions.imports[specifier].split("@").at(-1)}`;
}

/** Starts every library in a process of its own. */
async function startLibraries(gpu: Gpu, python: string | undefined) {
  const jax = withVersion("jax-js", "@jax-js/jax");
  const tfjs = withVersion("TensorFlow.js", "@tensorflow/tfjs-core");
  const ort = withVersion("ONNX Runtime Web", "onnxruntime-web");
  const native = withVersion("onnxruntime-node", "onnxruntime-node");
  const program = (name: string, target: Target, file: string, device: string) => ({
    name,
    target,
    start: async () => ({ name, peer: await denoPeer(file, device) }),
  });
  const script = (name: string, library: "numpy" | "torch" | "cuda") => ({
    name,
    target: "native" as const,
    start: () => blasPeer(python!, library),
  });
  const wanted = [
    program(`${jax}, WebGPU`, "WebGPU", "jax.ts", "webgpu"),
    program(`${tfjs}, WebGPU`, "WebGPU", "tfjs.ts", "webgpu"),
    program(`${ort}, WebGPU`, "WebGPU", "ort.ts", "webgpu"),
    program(`${jax}, WASM`, "WASM", "jax.ts", "wasm"),
    program(`${tfjs}, WASM, 1 thread`, "WASM", "tfjs.ts", "wasm"),
    program(`${ort}, WASM, 1 thread`, "WASM", "ort.ts", "wasm"),
    program(native, "native", "ort.ts", "node"),
    ...(python ? [script("NumPy", "numpy"), script("PyTorch", "torch")] : []),
    ...(python && gpu.info.type === "GPU" ? [script("PyTorch, CUDA", "cuda")] : []),
  ];
  const libraries: { name: string; target: Target; peer: Peer }[] = [];
  const failed: { name: string; error: string }[] = [];
  for (const { name, target, start } of wanted) {
    console.error(`starting ${name}`);
    try {
      libraries.push({ target, ...await start() });
    } catch (error) {
      failed.push({ name, error: (error as Error).message });
    }
  }
  return { libraries, failed };
}

/** GFLOP/s of every library at every product, in turns. */
export async function benchPeerProducts(
  gpu: Gpu,
  { rounds, python }: { rounds: number; python?: string },
): Promise<PeerProducts> {
  using processes = new DisposableStack();
  const { libraries, failed } = await startLibraries(gpu, python);
  for (const { peer } of libraries) processes.use(peer);
  const products: ProductResult[] = [];
  for (const product of PRODUCTS) {
    const { m, n, k, transposeB } = product;
    const name = `${m} x ${n} x ${k}, ${transposeB ? "NT" : "NN"}`;
    console.error(name);
    using _ = new Scope(gpu);
    const a = Tensor.from(gpu, operand(m * k, 1), [m, k]);
    const b = Tensor.from(gpu, operand(k * n, 2), transposeB ? [n, k] : [k, n]);
    const multiply = () => noGrad(gpu, () => matmul(a, b, { transposeB }));
    const last = (await multiply().data())[m * n - 1];
    const contestants: Record<string, Timed> = {
      [OURS]: onDevice(gpu, () => multiply().dispose()),
    };
    for (const library of libraries) {
      const ask = (repeats: number) =>
        library.peer.ask<Answer>(JSON.stringify({ ...product, repeats }));
      try {
        checkLast((await ask(1)).last!, last);
        contestants[library.name] = async (repeats) => (await ask(repeats)).milliseconds;
      } catch (error) {
        failed.push({ name: `${library.name}, ${name}`, error: (error as Error).message });
      }
    }
    const times = await interleaved(contestants, {
      rounds,
      warm: true,
      budget: BUDGET_MILLISECONDS,
    });
    const speeds = Object.entries(times).map(([name, ms]) => [name, 2 * m * n * k / ms / 1e6]);
    products.push({ product: name, gflops: Object.fromEntries(speeds) });
  }
  const ours = { name: OURS, target: "WebGPU" as const };
  return {
    libraries: [ours, ...libraries.map(({ name, target }) => ({ name, target }))],
    failed,
    products,
  };
}

/** Refuses a library that computes something else: sums of thousands differ by rounding alone. */
function checkLast(theirs: number, ours: number): void {
  if (Math.abs(theirs - ours) > 1e-4 * Math.max(1, Math.abs(ours))) {
    throw new Error(`its last element is ${theirs}, ours ${ours}`);
  }
}
