import { assert, assertEquals } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { decomposedAttention } from "../../lib/tensor/ops/decomposed_attention.ts";
import type { AttentionWindows } from "../../lib/tensor/ops/heads.ts";
import { fill } from "../../lib/tensor/ops/fill.ts";
import { gelu, relu, sigmoid } from "../../lib/tensor/ops/unary.ts";
import { diceBceLoss } from "../../lib/tensor/ops/losses.ts";
import { reshape } from "../../lib/tensor/ops/movement.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { disc, wave } from "../sam/seeded.ts";
import { RecordingGpu } from "./recording_gpu.ts";

Deno.test("the engine uses the WebGPU object it was given and no other", async () => {
  const recorder = new RecordingGpu();
  Object.defineProperty(navigator, "gpu", {
    configurable: true,
    get: () => {
      throw new Error("navigator.gpu was read");
    },
  });
  try {
    using gpu = await Gpu.open({ gpu: recorder.gpu });
    using _ = new Scope(gpu);
    const x = Tensor.from(gpu, [1, 2, 3], [3]);
    assertEquals([...await add(x, fill(gpu, [3], 1)).data()], [2, 3, 4]);
  } finally {
    Reflect.deleteProperty(navigator, "gpu");
  }
  assertEquals(recorder.count("GPU.requestAdapter"), 1);
  assertEquals(recorder.count("GPUAdapter.requestDevice"), 1);
  assertEquals(recorder.count("GPUComputePassEncoder.dispatchWorkgroups"), 2);
  assertEquals(recorder.count("GPUQueue.submit"), 1);
});

Deno.test("what is encoded is submitted before a kernel is compiled, if it is enough and the last submit was long ago", async () => {
  const recorder = new RecordingGpu();
  let now = 0;
  using clock = new DisposableStack();
  clock.adopt(performance.now, (real) => performance.now = real);
  performance.now = () => now;
  using gpu = await Gpu.open({ gpu: recorder.gpu });
  using _ = new Scope(gpu);
  let x = fill(gpu, [5], 1);
  x = add(x, x); // compiles what fills and what adds
  const addTimes = (times: number) => {
    for (let i = 0; i < times; i++) x = add(x, fill(gpu, [5], 1));
  };
  now = 1000;
  addTimes(1);
  relu(x);
  assertEquals(recorder.count("GPUQueue.submit"), 0, "too little");
  addTimes(16);
  now = 10;
  gelu(x); // the same kernel with another constant
  assertEquals(recorder.count("GPUQueue.submit"), 0, "too soon");
  now = 1000;
  sigmoid(x);
  assertEquals(recorder.count("GPUQueue.submit"), 1);
  assertEquals([...await x.data()], Array(5).fill(19));
});

Deno.test("steps of MobileSAM make no buffer and no bind group from the second on, and never wait", async () => {
  const recorder = new RecordingGpu();
  using gpu = await Gpu.open({ gpu: recorder.gpu });
  const sam = await loadSam(gpu);
  await injectLora(sam, { r: 4, lora_alpha: 4, random: new Random(0) });
  using adam = new Adam(sam.trainableParameters().map(([, tensor]) => tensor), { maxGradNorm: 1 });
  const side = 64;
  const step = () => {
    using _ = new Scope(gpu);
    const x = Tensor.from(gpu, wave(2, side), [2, side, side, 3]);
    const target = Tensor.from(gpu, disc(2, side, side), [2, side, side]);
    const { masks } = sam.decode(sam.imageEncoder.forward(x), [
      { box: [8, 8, 40, 44] },
      { box: [16, 8, 52, 44] },
    ]);
    const size = [side, side] as const;
    const logits = sam.postprocessMasks(masks, { input: size, original: size });
    diceBceLoss(reshape(logits, [2, side, side]), target).loss.backward();
    adam.step(1e-3);
  };
  step();
  step();
  await gpu.finish();
  recorder.calls = [];
  const dispatches = gpu.dispatches;
  for (let i = 0; i < 3; i++) step();
  assertEquals(
    recorder.count("GPUComputePassEncoder.dispatchWorkgroups"),
    gpu.dispatches - dispatches,
  );
  assert(gpu.dispatches - dispatches > 1000);
  for (
    const method of [
      "GPUDevice.createBuffer",
      "GPUDevice.createBindGroup",
      "GPUDevice.createComputePipeline",
      "GPUQueue.onSubmittedWorkDone",
      "GPUBuffer.mapAsync",
    ]
  ) assertEquals(recorder.count(method), 0, method);
  await gpu.finish();
  sam.dispose();
});

Deno.test("a grid whose blocks fit either way has the kernel of keys that windows have, and faster ones of queries", async () => {
  const recorder = new RecordingGpu();
  using gpu = await Gpu.open({ gpu: recorder.gpu, family: "cpu" });
  const attend = (
    shape: number[],
    options: { grid: [number, number]; windows?: AttentionWindows },
  ) => {
    using _ = new Scope(gpu);
    const make = (shape: number[]) => fill(gpu, shape, 0.5).setParameter(true);
    const qkv = make(shape);
    const [relPosH, relPosW] = options.grid.map((n) => make([2 * n - 1, 4]));
    sum(decomposedAttention(qkv, { relPosH, relPosW }, { heads: 1, ...options })).backward();
    for (const x of [qkv, relPosH, relPosW]) x.zeroGrad();
  };
  attend([8 * 8 + 1, 12], { grid: [6, 6], windows: { size: 6, images: [1, 8, 8] } }); // with padding
  attend([1, 4 * 6, 12], { grid: [4, 6] });
  attend([1, 8 * 8, 12], { grid: [8, 8] });
  await gpu.finish();
  const made = recorder.calls.filter(({ method }) => method === "GPUDevice.createComputePipeline")
    .map(({ args }) => (args[0] as GPUComputePipelineDescriptor).label!)
    .filter((name) => name.startsWith("attention"));
  assertEquals(made.filter((name) => name.includes("key_value")).length, 1);
  assertEquals(made.filter((name) => name.includes("query")).length, 3);
});
