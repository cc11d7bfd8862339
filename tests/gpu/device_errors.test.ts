import {
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { fillKernel } from "../../kernels/elementwise/mod.ts";
import { repeatKernel } from "../../kernels/movement/mod.ts";
import { defineKernel, u32 } from "../../kernels/spec.ts";
import { InputError } from "../../lib/errors.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { linear } from "../../lib/tensor/ops/matmul.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu as foreign } from "../gpu.ts";
import { RecordingGpu, type Replacements } from "./recording_gpu.ts";

/** A device error, and what provokes it. */
interface Fault {
  /** Replaced methods of the implementation. */
  readonly gpu?: Replacements;
  /** Provokes it, with a tensor [2, 4] at hand; it is reported after this has returned. */
  readonly fails: (gpu: Gpu, x: Tensor) => void;
  /** Beginning of its message. */
  readonly message: string;
  readonly type?: typeof InputError;
  readonly ignore?: boolean;
}

const brokenKernel = defineKernel({
  name: "broken_on_purpose",
  files: { "broken.wgsl": "fn main( {}" },
  buffers: { x: "read_write f32" },
  params: u32("count"),
});

/** A device without memory for what `isRefused` says. */
function withoutMemory(
  method: "GPUDevice.createBuffer" | "GPUDevice.createTexture",
  isRefused: (descriptor: GPUBufferDescriptor & GPUTextureDescriptor) => boolean,
): Replacements {
  let refused = false;
  return {
    [method]: (real: (descriptor: unknown) => unknown, descriptor: unknown) => {
      refused = isRefused(descriptor as GPUBufferDescriptor & GPUTextureDescriptor);
      return real(descriptor);
    },
    "GPUDevice.popErrorScope": async (real) => {
      const error = refused ? new GPUOutOfMemoryError("none left") : null;
      refused = false;
      return await real() ?? error;
    },
  };
}

const largeTensor = ({ size, usage }: GPUBufferDescriptor) =>
  (usage & GPUBufferUsage.STORAGE) !== 0 && size > 2 ** 20;

const faults: Record<string, Fault> = {
  "a kernel that does not compile": {
    fails: (gpu, x) =>
      gpu.run(brokenKernel, { buffers: { x: x.buffer }, params: { count: 4 }, workgroups: [1] }),
    message: "kernel broken_on_purpose does not compile: ",
  },
  "a kernel given a buffer of another device": {
    fails: (gpu, x) => {
      const { device } = foreign;
      const buffer = device.createBuffer({ size: 16, usage: GPUBufferUsage.STORAGE });
      gpu.run(repeatKernel, {
        buffers: { x: x.buffer, out: { ...x.buffer, id: 1000, buffer } },
        params: { count4: 1, x_count4: 1 },
        workgroups: [1],
      });
    },
    message: "kernel repeat cannot use its buffers: ",
  },
  "a dispatch that reads what it writes": {
    fails: (gpu, x) => {
      add(x, x);
      gpu.run(repeatKernel, {
        buffers: { x: x.buffer, out: x.buffer },
        params: { count4: 2, x_count4: 2 },
        workgroups: [1],
      });
      gpu.flush();
    },
    message: "the GPU refused commands with binary ([2, 4], [2, 4], [2, 4]), " +
      "repeat ([2, 4], [2, 4]): ",
  },
  "a copy that does not fit": {
    fails: (gpu, x) => {
      gpu.copy(x.buffer, Tensor.empty(gpu, [4]).buffer, 32);
      gpu.flush();
    },
    message: "the GPU refused commands with copy ([2, 4], [4]): ",
  },
  "a write that does not fit": {
    fails: (gpu, x) => gpu.write(x.buffer, new Float32Array(12)),
    message: "the GPU refused a write to a tensor [2, 4] (weight): ",
  },
  "no memory for a tensor": {
    gpu: withoutMemory("GPUDevice.createBuffer", largeTensor),
    fails: (gpu) => void Tensor.empty(gpu, [4, 512, 256]),
    message:
      "the GPU has no memory for a tensor [4, 512, 256], 2.0 MiB, beside the 0.0 MiB held: " +
      "take a smaller batch (--batch-size) or side (--side), or --checkpoint-activations",
    type: InputError,
  },
  "no memory for a weight": {
    gpu: withoutMemory("GPUDevice.createBuffer", largeTensor),
    fails: (gpu) => void Tensor.from(gpu, new Float32Array(2 ** 19), [2 ** 19], "neck.0.weight"),
    message: "the GPU has no memory for a tensor [524288] (neck.0.weight), 2.0 MiB, beside",
    type: InputError,
  },
  "no memory for a texture": {
    gpu: withoutMemory("GPUDevice.createTexture", () => true),
    fails: (_gpu, x) => void linear(x, x),
    message: "the GPU has no memory for a texture of a tensor [2, 4] (weight), 0.0 MiB, beside",
    type: InputError,
    // No other device reads from textures.
    ignore: foreign.family === "gpu" || !/llvmpipe/i.test(foreign.info.driver),
  },
  "no memory for reading a tensor": {
    gpu: withoutMemory(
      "GPUDevice.createBuffer",
      ({ usage }) => (usage & GPUBufferUsage.MAP_READ) !== 0,
    ),
    fails: (_gpu, x) => x.data().catch(() => {}),
    message: "the GPU has no memory for reading a tensor [2, 4] (weight), 0.0 MiB, beside",
    type: InputError,
  },
  "the loss of the device": {
    fails: (gpu) => gpu.device.destroy(),
    message: "the GPU device was lost: ",
  },
};

/** Every call that uses the device. */
const calls: Record<string, (gpu: Gpu, x: Tensor) => unknown> = {
  acquire: (gpu) => gpu.acquire(16),
  run: (gpu, x) =>
    gpu.run(fillKernel, {
      buffers: { x: x.buffer },
      params: { count4: 1, value: 0 },
      workgroups: [1],
    }),
  write: (gpu, x) => gpu.write(x.buffer, new Float32Array(4)),
  copy: (gpu, x) => gpu.copy(x.buffer, x.buffer, 16),
  read: (gpu, x) => gpu.read(x.buffer, 16),
  flush: (gpu) => gpu.flush(),
  trim: (gpu) => gpu.trim(),
  finish: (gpu) => gpu.finish(),
  profile: (gpu) => gpu.profile(),
};

for (
  const [name, { gpu: replacements, fails, message, type = Error, ignore }] of Object.entries(
    faults,
  )
) {
  const test = `after ${name} every call on the device throws that error, time after time`;
  Deno.test(test, { ignore }, async () => {
    const implementation = replacements && new RecordingGpu(replacements).gpu;
    using gpu = await Gpu.open({ gpu: implementation });
    const x = Tensor.from(gpu, [1, 2, 3, 4, 5, 6, 7, 8], [2, 4], "weight");
    await gpu.finish();
    fails(gpu, x);
    const first = await assertRejects(() => gpu.finish());
    assertInstanceOf(first, type);
    assertStringIncludes(first.message, message);
    for (const [call, use] of [...Object.entries(calls), ...Object.entries(calls)]) {
      const error = await assertRejects(async () => void await use(gpu, x), call);
      assertStrictEquals(error, first, call);
    }
    x.dispose(); // what only gives back goes on
  });
}
