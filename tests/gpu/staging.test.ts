import { assertEquals } from "@std/assert";
import { defineKernel } from "../../kernels/spec.ts";
import { STAGING_WIDTH } from "../../lib/gpu/staging.ts";
import { gpu } from "../gpu.ts";

const copyKernel = defineKernel({
  name: "copy_from_texture",
  source: `
    struct Params { count: u32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
    @group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
      if (id.x >= params.count) { return; }
      y[id.x] = textureLoad(x, vec2<u32>(id.x % ${STAGING_WIDTH}u, id.x / ${STAGING_WIDTH}u));
    }`,
  buffers: { x: "texture", y: "read_write" },
  params: { count: "u32" },
});

Deno.test("a buffer staged in a texture has its elements in order, whatever its size", async () => {
  // Less than a row, rows that end within one, a whole number of rows, and smaller ones after larger.
  for (const texels of [3, 5000, 2 * STAGING_WIDTH, 1, 70_001, 2049]) {
    const data = Float32Array.from({ length: 4 * texels }, (_, i) => i + texels);
    const [x, y] = [gpu.acquire(data.byteLength), gpu.acquire(data.byteLength)];
    gpu.write(x, data);
    gpu.run(copyKernel, {
      buffers: { x, y },
      params: { count: texels },
      workgroups: [Math.ceil(texels / 64)],
    });
    assertEquals(new Float32Array(await gpu.read(y, data.byteLength)), data, `${texels} texels`);
    gpu.release(x);
    gpu.release(y);
  }
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
      params: { count: texels },
      workgroups: [Math.ceil(texels / 64)],
    });
  }
  for (const { data, x, y } of buffers) {
    assertEquals(new Float32Array(await gpu.read(y, data.byteLength)), data);
    gpu.release(x);
    gpu.release(y);
  }
});
