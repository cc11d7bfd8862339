// jax-js on WebGPU, as a peer of peers.ts.
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
await init("webgpu");
defaultDevice("webgpu");
await serve(async ({ m, n, k, transposeB }) => {
  const a = numpy.array(operand(m * k, 1)).reshape([m, k]);
  const b = numpy.array(operand(k * n, 2)).reshape(transposeB ? [n, k] : [k, n]);
  await blockUntilReady([a, b]);
  let c: Handle | undefined;
  return {
    multiply() {
      c?.dispose();
      c = numpy.matmul(a.ref, transposeB ? numpy.transpose(b.ref) : b.ref);
    },
    async wait() {
      await blockUntilReady(c);
    },
    result: () => c!.ref.data(),
  };
});
