// Times every product tile for GPUs at shapes of the models; each shape's TileAnswer is a line of JSON.
import { type MatmulProblem, matmulTiles, planMatmul } from "../../kernels/matmul/mod.ts";
import { kernelTarget, PRODUCT_TILES } from "../../kernels/target.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { interleaved, onDevice, type Timed } from "../bench/measure.ts";
import { hashed } from "../sam/seeded.ts";

/** A shape in every tile. */
export interface TileAnswer {
  readonly shape: string;
  /** GFLOP/s by the tile. */
  readonly speeds: Readonly<Record<string, number>>;
  /** Tile that is chosen for this device. */
  readonly chosen: string;
  /** GFLOP/s of that tile in half precision. */
  readonly half: number;
  /** True on a GPU: CPU drivers run other kernels, and these for the sake of trying the report alone. */
  readonly used: boolean;
}

/** m, n and k of products with a weight that is stored transposed. */
const SHAPES = [
  [3136, 480, 160],
  [4096, 512, 128],
  [1024, 1280, 320],
  [1024, 1024, 1024],
  [4096, 3072, 768],
  [4096, 768, 3072],
] as const;

await using gpu = await Gpu.open({ family: "gpu" });
const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = gpu.device.limits;
const limits = {
  invocations: maxComputeInvocationsPerWorkgroup,
  bytes: maxComputeWorkgroupStorageSize,
};
const own = kernelTarget({ vendor: gpu.info.vendor, limits, f16: gpu.target.f16 });
const all = { ...own, id: -1, products: PRODUCT_TILES };

for (const [m, n, k] of SHAPES) {
  using _ = new Scope(gpu);
  const make = (name: string, shape: number[]) =>
    Tensor.from(gpu, Float32Array.from(hashed(name, shape[0] * shape[1])), shape);
  const [a, b, c] = [make("a", [m, k]), make("b", [n, k]), make("c", [m, n])];
  const problem: MatmulProblem = {
    m,
    n,
    k,
    a: { ld: k },
    b: { ld: k, transpose: true },
    c: { ld: n },
  };
  const timed = (problem: MatmulProblem): Timed => {
    const plan = planMatmul(problem, all);
    const buffers = { a: a.buffer, b: b.buffer, bias: b.buffer, c: c.buffer };
    return onDevice(gpu, () => gpu.run(plan.kernel, { ...plan, buffers }));
  };
  const [chosen] = matmulTiles(problem, own);
  const contestants: Record<string, Timed> = {
    half: timed({ ...problem, tile: chosen, precision: "f16" }),
  };
  for (const { name } of PRODUCT_TILES) contestants[name] = timed({ ...problem, tile: name });
  const times = await interleaved(contestants, { rounds: 3, budget: 1500 });
  const { half, ...speeds } = Object.fromEntries(
    Object.entries(times).map(([name, time]) => [name, 2 * m * n * k / time / 1e6]),
  );
  const answer: TileAnswer = {
    shape: `${m} x ${n} x ${k}`,
    speeds,
    chosen,
    half,
    used: gpu.info.type === "GPU",
  };
  console.log(JSON.stringify(answer));
}
