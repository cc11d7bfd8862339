import { assertEquals } from "@std/assert";
import { attentionTiles } from "../../kernels/attention/mod.ts";
import { matmulTiles } from "../../kernels/matmul/mod.ts";
import { GPU_CLASSES, kernelTarget } from "../../kernels/target.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { withAdapter } from "./adapters.ts";

/** The tile that a device takes for a product. */
function tileOf(vendor: string, [m, n, k]: readonly [number, number, number]): string {
  return matmulTiles(
    { m, n, k, a: { ld: k }, b: { ld: n }, c: { ld: n } },
    kernelTarget({ vendor }),
  )[0];
}

Deno.test("a GPU's class chooses the tile of a product, with its sizes", () => {
  const large = [4096, 3072, 768] as const;
  // Dawn names makers, wgpu tells their PCI numbers.
  assertEquals(["nvidia", "4318"].map((vendor) => tileOf(vendor, large)), [
    "128 x 128, 128 threads",
    "128 x 128, 128 threads",
  ]);
  assertEquals(["amd", "4203"].map((vendor) => tileOf(vendor, large)), ["128 x 128", "128 x 128"]);
  assertEquals(["intel", ""].map((vendor) => tileOf(vendor, large)), ["64 x 64", "64 x 64"]);
  // Few large tiles would leave the device idle, or be padding.
  for (const { name } of GPU_CLASSES) {
    assertEquals(tileOf(name, [64, 64, 768]), "32 x 32", name);
    assertEquals(tileOf(name, [16384, 16, 256]), "32 x 32", name);
  }
});

Deno.test("tiles beyond a device's limits are not chosen", () => {
  const tiles = (invocations: number, bytes: number) => {
    const target = kernelTarget({ vendor: "nvidia", limits: { invocations, bytes } });
    return [
      target.products.map(({ name }) => name),
      attentionTiles(target).map(({ blocks }) => blocks),
    ];
  };
  assertEquals(tiles(128, 16384), [["32 x 32", "128 x 128, 128 threads"], [8, 16]]);
  assertEquals(tiles(256, 16384)[1], [8, 16]);
  assertEquals(tiles(256, 32768)[1], [8, 16, 32]);
});

Deno.test("an adapter's maker tells its class, whose kernels a CPU driver can be made to run", async () => {
  const nvidia = withAdapter(({ info }) => ({
    info: { ...info, vendor: "4318", device: "", description: "a card", isFallbackAdapter: false },
  }));
  await using gpu = await Gpu.open({ gpu: nvidia });
  assertEquals([gpu.family, gpu.target.gpu, gpu.target.lanes], ["gpu", "NVIDIA", 0]);
});
