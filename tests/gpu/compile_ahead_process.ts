// Computes with kernels that a driver with an empty cache has to compile, for compile_ahead.test.ts, and leaves the Gpu
// open. Its clock says that the driver took 10 s (`cold`), no time (`warm`) or 80 ms for the first of them: less than twice
// what a thread takes where the cache is switched off (`useless`). Writes JSON: threads made, kernels that they were
// told of, files in the driver's cache before and after threads compiled a kernel that the device had not come to, and
// after the device ran it, with its result.
import { FLAGS, type ShaderAhead } from "../../lib/gpu/compile_ahead.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { attention } from "../../lib/tensor/ops/attention.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { sizeOf } from "../../lib/tensor/shape.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";

const [clock, cache] = Deno.args as ["cold" | "warm" | "useless", string];

const pause = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds));

function files(folder: string): number {
  return [...Deno.readDirSync(folder)].reduce(
    (sum, { name, isDirectory }) => sum + (isDirectory ? files(`${folder}/${name}`) : 1),
    0,
  );
}

/** Waits for what happens by and by, a minute at most. */
async function until(isSo: () => boolean): Promise<void> {
  for (let i = 0; i < 600 && !isSo(); i++) await pause(100);
}

/** Files in the driver's cache, once there are so many; without a cache none, once all threads say so. */
async function reached(least: number): Promise<number> {
  const isUseless = ({ flags }: ShaderAhead) => new Int32Array(flags)[FLAGS.useless] === 1;
  await until(() => clock === "useless" ? told.every(isUseless) : files(cache) >= least);
  return files(cache);
}

let threads = 0;
const told: ShaderAhead[] = [];
const { Worker } = globalThis;
globalThis.Worker = class extends Worker {
  constructor(...parameters: ConstructorParameters<typeof Worker>) {
    super(...parameters);
    threads++;
  }
  override postMessage(message: ShaderAhead): void {
    told.push(message);
    super.postMessage(message);
  }
};
let now = 0;
const tick = { cold: 10_000, warm: 0, useless: 80 }[clock];
performance.now = () => now += tick;

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
const after = files(cache);
console.log(JSON.stringify({ threads, told: told.length, before, ahead, after, values }));
