import { assertEquals, assertRejects } from "@std/assert";
import { beginSlices, predictSlices } from "../../lib/evaluate/predict.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { RecordingGpu } from "../gpu/recording_gpu.ts";
import { discs } from "../train/discs.ts";
import { tinySam } from "../train/tiny_sam.ts";

const made = discs("predict", { count: 2 });
const slices = await Promise.all(made.refs.map((ref) => made.read(ref)));
const options = { prompts: ["tight-box", "whole-image", "clicks-3"], seed: 0 } as const;

Deno.test("a read that fails leaves no embedding that clicks would have been decoded of", async () => {
  let fails = false;
  const recorder = new RecordingGpu({
    "GPUBuffer.mapAsync": (real, ...args) =>
      fails ? Promise.reject(new Error("no read")) : real(...args),
  });
  using gpu = await Gpu.open({ gpu: recorder.gpu });
  using model = new SliceModel(tinySam("tiny", gpu), { side: 64, cacheBytes: 0 });
  await predictSlices(model, slices, options);
  const { live } = gpu.memory;
  fails = true;
  await assertRejects(() => predictSlices(model, slices, options), Error, "no read");
  assertEquals(gpu.memory.live, live);
});

Deno.test("no read is encoded before all that may fail, since nobody would wait for it", async () => {
  const recorder = new RecordingGpu();
  using gpu = await Gpu.open({ gpu: recorder.gpu });
  using model = new SliceModel(tinySam("tiny", gpu), { side: 64, cacheBytes: 0 });
  recorder.calls = [];
  const wait = beginSlices(model, slices, options);
  const steps = recorder.calls.flatMap(({ method, args }) => {
    if (method === "GPUComputePassEncoder.dispatchWorkgroups") return ["dispatch"];
    if (method !== "GPUDevice.createBuffer") return [];
    const { usage } = args[0] as GPUBufferDescriptor;
    return (usage & GPUBufferUsage.MAP_READ) === 0 ? [] : ["read"];
  });
  assertEquals(steps.slice(steps.indexOf("read")), ["read", "read"]);
  await wait();
});
