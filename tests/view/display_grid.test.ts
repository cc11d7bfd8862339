import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../lib/errors.ts";
import { DisplayGrid, type Voxel } from "../../lib/view/display_grid.ts";

const shape = [2, 3, 4] as const;
const spacing = [1, 2, 3] as const;

/** Voxels that are numbered in their own order. */
const voxels = Float32Array.from({ length: 24 }, (_, i) => i);

Deno.test("a volume that lies to the right, front and top is drawn as it is", () => {
  const grid = new DisplayGrid({ shape, spacing, orientation: "RAS" });
  assertEquals([...grid.shape], [2, 3, 4]);
  assertEquals([...grid.reorder(voxels)], [...voxels]);
  assertEquals(grid.toDrawn([1, 2, 3]), [1, 2, 3]);
});

Deno.test("axes are exchanged and turned, and back again", () => {
  // The first axis runs down, the second to the left, the third to the back.
  const grid = new DisplayGrid({ shape, spacing, orientation: "ILP" });
  assertEquals([...grid.shape], [3, 4, 2]);
  assertEquals([...grid.spacing], [2, 3, 1]);
  assertEquals([0, 1, 2].map((axis) => grid.drawnAxis(axis)), [2, 0, 1]);
  assertEquals(grid.toDrawn([0, 0, 0]), [2, 3, 1]); // top, right, front
  const drawn = grid.reorder(voxels);
  const { first, step } = grid.steps();
  for (let z = 0; z < 4; z++) {
    for (let y = 0; y < 3; y++) {
      for (let x = 0; x < 2; x++) {
        const voxel: Voxel = [x, y, z];
        const [a, b, c] = grid.toDrawn(voxel);
        assertEquals(grid.toVoxel([a, b, c]), [...voxel]);
        assertEquals(drawn[a + 3 * (b + 4 * c)], x + 2 * (y + 3 * z));
        assertEquals(first + x * step[0] + y * step[1] + z * step[2], a + 3 * (b + 4 * c));
      }
    }
  }
});

Deno.test("a picture without a place has its first row at the top and its first column on the left", () => {
  // Front is drawn at the top, and the patient's right on the left.
  const grid = new DisplayGrid({ shape: [4, 5, 1], spacing, orientation: null });
  assertEquals(grid.toDrawn([0, 0, 0]), [3, 4, 0]);
});

Deno.test("a volume of more voxels along an axis than are drawn is refused", () => {
  const require = (shape: Voxel) =>
    new DisplayGrid({ shape, spacing, orientation: null })
      .requireDrawable({ largest: { flat: 8, solid: 4 }, name: "a.png" });
  require([8, 2, 1]);
  require([4, 2, 4]);
  assertThrows(
    () => require([9, 2, 1]),
    InputError,
    "a.png has 9 x 2 x 1 voxels, and this browser",
  );
  assertThrows(() => require([2, 2, 5]), InputError, "draws 4 along an axis");
});
