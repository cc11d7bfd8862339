/**
 * Thread of {@linkcode CompileAhead}: compiles kernels on a device of its own, the last ones first, and ends itself when
 * none has come for a while.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { FLAGS, type Shader, type ShaderAhead } from "./compile_ahead.ts";
import { openDevice } from "./gpu_adapter.ts";
import { layoutOf, pipelineOf, UNIFORM_SLOT } from "./pipelines.ts";

/** Milliseconds without a kernel after which the thread ends. */
const IDLE_MILLISECONDS = 3_000;

/**
 * Value of every parameter. Mesa compiles a kernel for the very values that its loops and branches depend on where that
 * halves it, as zeros do: the cache would not have the kernel that is needed.
 */
const PARAMETER = 64;

const waiting: ShaderAhead[] = [];
let compiler: Promise<Compiler> | undefined;
let isWorking = false;
let idle: ReturnType<typeof setTimeout> | undefined;

self.onmessage = async ({ data }: MessageEvent<ShaderAhead>) => {
  clearTimeout(idle);
  waiting.push(data);
  if (isWorking) return;
  isWorking = true;
  const flags = new Int32Array(data.flags);
  while (waiting.length > 0) {
    await work(waiting.pop()!, flags).catch(() => giveUp(flags)); // it is of help, no more
    if (Atomics.load(flags, FLAGS.ended) === 1) return;
    await nextTurn(); // in which more kernels come
  }
  isWorking = false;
  idle = setTimeout(() => end(flags), IDLE_MILLISECONDS);
};

/** Compiles a kernel, unless nobody waits for it. */
async function work({ shader, number, took }: ShaderAhead, flags: Int32Array): Promise<void> {
  Atomics.store(flags, FLAGS.busy, 1);
  try {
    if (Atomics.load(flags, FLAGS.stop) === 1) return await end(flags);
    if (took === null && number <= Atomics.load(flags, FLAGS.passed)) return;
    const { compile } = await (compiler ??= open());
    const start = performance.now();
    await compile(shader);
    // The device has left the kernel that was judged in the cache.
    if (took !== null && performance.now() - start > took / 2) await giveUp(flags);
  } finally {
    rest(flags);
  }
}

function rest(flags: Int32Array): void {
  Atomics.store(flags, FLAGS.busy, 0);
  Atomics.notify(flags, FLAGS.busy);
}

async function giveUp(flags: Int32Array): Promise<void> {
  Atomics.store(flags, FLAGS.useless, 1);
  await end(flags);
}

async function end(flags: Int32Array): Promise<void> {
  Atomics.store(flags, FLAGS.ended, 1);
  await compiler?.then(({ device }) => device.destroy(), () => {});
  rest(flags); // nothing runs after the next line
  self.close();
}

function nextTurn(): Promise<void> {
  return new Promise((done) => setTimeout(done));
}

/** A device, and what has it compile a kernel. */
interface Compiler {
  readonly device: GPUDevice;
  readonly compile: (shader: Shader) => Promise<void>;
}

/** Opens a device, which compiles a kernel when that is dispatched, if only without a workgroup. */
async function open(): Promise<Compiler> {
  const { device } = await openDevice(navigator.gpu);
  const uniforms = device.createBuffer({
    size: UNIFORM_SLOT,
    usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
  });
  device.queue.writeBuffer(uniforms, 0, new Uint32Array(UNIFORM_SLOT / 4).fill(PARAMETER));
  // Neither size may be a power of two: the driver compiles a kernel again for those (staging.ts).
  const texture = device.createTexture({
    size: [3, 3],
    format: "rgba32float",
    usage: GPUTextureUsage.STORAGE_BINDING,
  }).createView();
  const buffers: GPUBuffer[] = []; // one for each binding: two that are written must differ
  const compile = async ({ name, code, places }: Shader): Promise<void> => {
    const layout = layoutOf(device, places);
    const group = device.createBindGroup({
      layout,
      entries: [
        { binding: 0, resource: { buffer: uniforms, size: UNIFORM_SLOT } },
        ...places.map((place, i) => ({
          binding: i + 1,
          resource: place === "texture" ? texture : {
            buffer: buffers[i] ??= device.createBuffer({
              size: 256,
              usage: GPUBufferUsage.STORAGE,
            }),
          },
        })),
      ],
    });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipelineOf(device, { name, code, layout }));
    pass.setBindGroup(0, group, [0]);
    pass.dispatchWorkgroups(0);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
  };
  return { device, compile };
}
