import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../lib/errors.ts";
import { type Place, voxelAt } from "../../lib/predict/world.ts";
import cases from "./fixtures/places.json" with { type: "json" };

Deno.test("a place in millimetres is the voxel that SimpleITK gives it, in oblique scans too", () => {
  let count = 0;
  for (const { affine, places } of cases) {
    for (const { place, voxel } of places) {
      const found = voxelAt({ affine: Float64Array.from(affine) }, place as unknown as Place);
      assertEquals(found, voxel as [number, number, number]);
      count++;
    }
  }
  assertEquals(count, 183);
});

Deno.test("an affine without an inverse is refused", () => {
  const affine = new Float64Array(16);
  assertThrows(() => voxelAt({ affine }, [1, 2, 3]), InputError, "cannot be inverted");
});
