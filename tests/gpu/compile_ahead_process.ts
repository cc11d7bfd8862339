// Computes with kernels that a driver with an empty cache has to compile, for compile_ahead.test.ts, and leaves the Gpu
// open. Its clock says that the driver compiled the first of them (`cold`), or took no time (`warm`). Writes JSON:
// threads made, files in the driver's cache before and after threads compiled a kernel that the device had not come to,
// and after the device ran it, with its result.
import { Gpu } from "../../lib/gpu/gpu.ts";
import { attention } from "../../lib/tensor/ops/attention.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { sizeOf } from "../../lib/tensor/shape.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";

const [clock, cache] = Deno.args;

const pause = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds));

function files(folder: string): number {
  return [...Deno.readDirSync(folder)].reduce(
    (sum, { name, isDirectory }) => sum + (isDirectory ? files(`${folder}/${name}`) : 1),
    0,
  );
}

/** Files in the driver's cache, once there are so many: it writes them by and by. */
async function reached(least: number): Promise<number> {
  for (let i = 0; i < 600 && files(cache) < least; i++) await pause(100);
  return files(cache);
}

let threads = 0;
const { Worker } = globalThis;
globalThis.Worker = class extends Worker {
  constructor(...parameters: ConstructorParameters<typeof Worker>) {
    super(...parameters);
    threads++;
  }
};
let now = 0;
performance.now = () => clock === "cold" ? now += 10_000 : now;

const gpu = await Gpu.open({ compileAhead: true });
using _ = new Scope(gpu);
const wave = (shape: number[]) =>
  Tensor.from(gpu, Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i)), shape);
await matmul(wave([32, 32]), wave([32, 32])).data(); // by which the driver is judged
const before = await reached(2); // the cache's index, and that product
const x = wave([1, 8, 32]);
const result = attention(x, x, x, { heads: 2 });
const ahead = await reached(3);
const values = [...await result.data()];
await pause(1000); // in which another file would come
console.log(JSON.stringify({ threads, before, ahead, after: files(cache), values }));
