// Computes with kernels that a driver with an empty cache has to compile, for compile_ahead.test.ts, and leaves the Gpu
// open. Writes JSON: threads made, files in the driver's cache before and after threads compiled a kernel that the
// device had not come to, and after the device ran it, with its result.
import { Gpu } from "../../lib/gpu/gpu.ts";
import { attention } from "../../lib/tensor/ops/attention.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { sizeOf } from "../../lib/tensor/shape.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";

const [cache] = Deno.args;

/** Files in the driver's cache, once their number has held for a while. */
async function settled(folder = cache): Promise<number> {
  const count = (path: string): number =>
    [...Deno.readDirSync(path)].reduce(
      (sum, { name, isDirectory }) => sum + (isDirectory ? count(`${path}/${name}`) : 1),
      0,
    );
  let [last, since] = [-1, 0];
  while (since < 10) {
    const now = count(folder);
    since = now === last ? since + 1 : 0;
    last = now;
    await new Promise((done) => setTimeout(done, 100));
  }
  return last;
}

let threads = 0;
const { Worker } = globalThis;
globalThis.Worker = class extends Worker {
  constructor(...parameters: ConstructorParameters<typeof Worker>) {
    super(...parameters);
    threads++;
  }
};

const gpu = await Gpu.open({ compileAhead: true });
using _ = new Scope(gpu);
const wave = (shape: number[]) =>
  Tensor.from(gpu, Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i)), shape);
await matmul(wave([32, 32]), wave([32, 32])).data(); // by which the driver is judged
const before = await settled();
const x = wave([1, 8, 32]);
const result = attention(x, x, x, { heads: 2 });
const ahead = await settled();
const values = [...await result.data()];
console.log(JSON.stringify({ threads, before, ahead, after: await settled(), values }));
