// TensorFlow.js on the backend that the argument names (webgpu or wasm), as a peer of peers.ts.
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { operand, serve } from "./serve.ts";

/** The part of TensorFlow.js that is used; its packages are installed for this folder alone. */
interface TensorFlow {
  setBackend(name: string): Promise<boolean>;
  backend(): {
    device?: GPUDevice;
    endComputePassEncoder(): void;
    submitQueue(): void;
  };
  tensor2d(data: Float32Array, shape: [number, number]): Handle;
  matMul(a: Handle, b: Handle, transposeA: boolean, transposeB: boolean): Handle;
}

/** A tensor. */
interface Handle {
  data(): Promise<Float32Array>;
  dispose(): void;
}

const [name] = Deno.args;
const [core, backend] = ["@tensorflow/tfjs-core", `@tensorflow/tfjs-backend-${name}`];
const tf = await import(core) as TensorFlow;
const { setWasmPaths } = await import(backend) as { setWasmPaths?(folder: string): void };
setWasmPaths?.(dirname(fileURLToPath(import.meta.resolve(backend))) + "/");
if (!await tf.setBackend(name)) throw new Error(`TensorFlow.js has no backend ${name} here`);
await serve(({ m, n, k, transposeB }) => {
  const a = tf.tensor2d(operand(m * k, 1), [m, k]);
  const b = tf.tensor2d(operand(k * n, 2), transposeB ? [n, k] : [k, n]);
  let c: Handle | undefined;
  return Promise.resolve({
    multiply() {
      c?.dispose();
      c = tf.matMul(a, b, false, transposeB);
    },
    async wait() {
      const own = tf.backend();
      if (!own.device) return; // WebAssembly computes at once
      own.endComputePassEncoder();
      own.submitQueue();
      await own.device.queue.onSubmittedWorkDone();
    },
    result: () => c!.data(),
  });
});
