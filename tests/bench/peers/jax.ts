// jax-js on the device that the argument names (webgpu or wasm), as a peer of peers.ts.
import { operand, serve } from "./serve.ts";

/** The part of jax-js that is used; its package is installed for this folder alone. */
interface Jax {
  init(device: string): Promise<unknown>;
  defaultDevice(device: string): void;
  blockUntilReady(value: unknown): Promise<unknown>;
  numpy: {
    array(data: Float32Array): Handle;
    matmul(a: Handle, b: Handle): Handle;
    transpose(a: Handle): Handle;
  };
}

/** An array, which every operation consumes unless it is given another reference. */
interface Handle {
  readonly ref: Handle;
  reshape(shape: number[]): Handle;
  data(): Promise<Float32Array>;
  dispose(): void;
}

const name = "@jax-js/jax";
const { init, defaultDevice, blockUntilReady, numpy } = await import(name) as Jax;
const [device] = Deno.args;
await init(device);
defaultDevice(device);
await serve(async ({ m, n, k, transposeB }) => {
  const a = numpy.array(operand(m * k, 1)).reshape([m, k]);
  const b = numpy.array(operand(k * n, 2)).reshape(transposeB ? [n, k] : [k, n]);
  await blockUntilReady([a, b]);
  // All results are kept and awaited: one that is thrown away unread may never be computed.
  let results: Handle[] = [];
  return {
    multiply() {
      results.push(numpy.matmul(a.ref, transposeB ? numpy.transpose(b.ref) : b.ref));
    },
    async wait() {
      await blockUntilReady(results);
      for (const c of results.slice(0, -1)) c.dispose();
      results = results.slice(-1);
    },
    result: () => results[0].ref.data(),
  };
});
