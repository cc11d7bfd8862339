import { assert, assertEquals, assertRejects } from "@std/assert";
import { TEXTURE_WIDTH } from "../../kernels/compose.ts";
import { defineKernel, u32 } from "../../kernels/spec.ts";
import type { PooledBuffer } from "../../lib/gpu/buffer_pool.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { gpu } from "../gpu.ts";
import { RecordingGpu } from "./recording_gpu.ts";

const copyKernel = defineKernel({
  name: "copy_from_texture",
  files: {
    "copy_from_texture.wgsl": `
      @compute @workgroup_size(64)
      fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < params.count) { y[id.x] = load_x(params.first + id.x); }
      }`,
  },
  buffers: { x: "texel vec4<f32>", y: "read_write vec4<f32>" },
  params: u32("first", "count"),
});

Deno.test("a buffer staged in a texture has its elements in order, whatever its size", async () => {
  // Less than a row, rows that end within one, a whole number of rows, and smaller ones after larger.
  for (const texels of [3, 5000, 2 * TEXTURE_WIDTH, 1, 70_001, 2049]) {
    const data = Float32Array.from({ length: 4 * texels }, (_, i) => i + texels);
    const [x, y] = [gpu.acquire(data.byteLength), gpu.acquire(data.byteLength)];
    gpu.write(x, data);
    gpu.run(copyKernel, {
      buffers: { x, y },
      params: { first: 0, count: texels },
      workgroups: [Math.ceil(texels / 64)],
    });
    assertEquals(new Float32Array(await gpu.read(y, data.byteLength)), data, `${texels} texels`);
    gpu.release(x);
    gpu.release(y);
  }
});

Deno.test("a buffer as large as a binding may be is staged to its last element", async () => {
  const size = Math.min(gpu.device.limits.maxStorageBufferBindingSize, 2 ** 27);
  const data = new Float32Array(size / 4);
  data.set([1, 2, 3, 4], data.length - 4);
  const [x, y] = [gpu.acquire(size), gpu.acquire(16)];
  gpu.write(x, data);
  const params = { first: size / 16 - 1, count: 1 };
  gpu.run(copyKernel, { buffers: { x, y }, params, workgroups: [1] });
  assertEquals([...new Float32Array(await gpu.read(y, 16))], [1, 2, 3, 4]);
  gpu.release(x);
  gpu.release(y);
  gpu.trim();
});

Deno.test("a kernel cannot read a buffer that it writes, wherever it would read it from", async () => {
  using own = await Gpu.open();
  const x = own.acquire(16);
  await assertRejects(
    async () => {
      own.run(copyKernel, {
        buffers: { x, y: x },
        params: { first: 0, count: 1 },
        workgroups: [1],
      });
      await own.finish();
    },
    Error,
    "copy_from_texture",
  );
});

Deno.test("each dispatch of one submit reads the buffer that was staged for it", async () => {
  const sizes = [400, 9000, 16];
  const buffers = sizes.map((texels, i) => {
    const data = new Float32Array(4 * texels).fill(i + 1);
    const [x, y] = [gpu.acquire(data.byteLength), gpu.acquire(data.byteLength)];
    gpu.write(x, data);
    return { texels, data, x, y };
  });
  for (const { texels, x, y } of buffers) {
    gpu.run(copyKernel, {
      buffers: { x, y },
      params: { first: 0, count: texels },
      workgroups: [Math.ceil(texels / 64)],
    });
  }
  for (const { data, x, y } of buffers) {
    assertEquals(new Float32Array(await gpu.read(y, data.byteLength)), data);
    gpu.release(x);
    gpu.release(y);
  }
});

Deno.test("buffers that stay as they are are copied to textures no more than twice, changed ones again", async () => {
  const recording = new RecordingGpu();
  using gpu = await Gpu.open({ gpu: recording.gpu });
  const texels = 100;
  const sources = [1, 2].map((value) => {
    const x = gpu.acquire(16 * texels);
    gpu.write(x, new Float32Array(4 * texels).fill(value));
    return x;
  });
  const y = gpu.acquire(16 * texels);
  const copy = async (x: PooledBuffer) => {
    gpu.run(copyKernel, {
      buffers: { x, y },
      params: { first: 0, count: texels },
      workgroups: [2],
    });
    return new Float32Array(await gpu.read(y, 16 * texels))[4 * texels - 1];
  };
  const [a, b] = sources;
  const seen: number[] = [];
  for (let step = 0; step < 5; step++) seen.push(await copy(a), await copy(b));
  assertEquals(seen, Array(5).fill([1, 2]).flat());
  const copies = recording.count("GPUCommandEncoder.copyBufferToTexture");
  assert(copies <= 4, `${copies} copies`);
  // Written by the host, by a kernel, and by a copy.
  gpu.write(a, new Float32Array(4 * texels).fill(3));
  assertEquals(await copy(a), 3);
  gpu.run(copyKernel, {
    buffers: { x: a, y: b },
    params: { first: 0, count: texels },
    workgroups: [2],
  });
  assertEquals(await copy(b), 3);
  gpu.write(a, new Float32Array(4 * texels).fill(4));
  gpu.copy(a, b, 16 * texels);
  assertEquals(await copy(b), 4);
  assertEquals(await copy(a), 4);
  // The idle buffers are destroyed, and what was kept of them with them.
  for (const buffer of [a, b, y]) gpu.release(buffer);
  gpu.trim();
  assertEquals(gpu.memory.buffers, 0);
});
