import { assertEquals } from "@std/assert";
import { cut, planeOf, whole } from "../../lib/data/plane.ts";
import { createVolume } from "../../lib/formats/volume.ts";
import { asShown, displayOf } from "../../lib/report/orientation.ts";

const letters = {
  R: [1, 0, 0],
  L: [-1, 0, 0],
  A: [0, 1, 0],
  P: [0, -1, 0],
  S: [0, 0, 1],
  I: [0, 0, -1],
};

/** A 4 x 4 x 4 volume whose axes run to the sides named, with marks at the patient's right, front and top. */
function volumeOf(axes: string) {
  const affine = new Float64Array(16);
  [...axes].forEach((letter, column) =>
    letters[letter as keyof typeof letters].forEach((value, row) =>
      affine[4 * row + column] = value
    )
  );
  affine[15] = 1;
  const data = new Float32Array(64);
  for (let i = 0; i < 64; i++) {
    const voxel = [i % 4, i >> 2 & 3, i >> 4].map((at) => at - 1.5);
    const mm = [0, 1, 2].map((row) =>
      voxel.reduce((sum, at, k) => sum + affine[4 * row + k] * at, 0)
    );
    data[i] = Number(mm[0] > 1) + 2 * Number(mm[1] > 1) + 4 * Number(mm[2] > 1);
  }
  return createVolume(data, { shape: [4, 4, 4], affine });
}

Deno.test("slices are shown in radiological convention, however the voxels run", () => {
  for (const axes of ["RAS", "LPS", "LAI", "ASR", "PIL", "SRA", "IRP"]) {
    for (const axis of [0, 1, 2] as const) {
      const volume = volumeOf(axes);
      const plane = planeOf(volume, axis);
      const display = displayOf(volume, axis);
      const pixels = cut(volume.data, plane, { ...whole(plane), index: 1 });
      const { pixels: shown, width } = asShown(pixels, plane, display);
      const [left, right, top, bottom] = [shown[width], shown[2 * width - 1], shown[1], shown[13]];
      const expected = {
        axial: { left: 1, right: 0, top: 2, bottom: 0 },
        coronal: { left: 1, right: 0, top: 4, bottom: 0 },
        sagittal: { left: 2, right: 0, top: 4, bottom: 0 },
        "orientation unknown": null,
      }[display.plane];
      const normal = axes[axis];
      assertEquals(
        display.plane,
        "RL".includes(normal) ? "sagittal" : "AP".includes(normal) ? "coronal" : "axial",
      );
      assertEquals({ left, right, top, bottom }, expected!, `${axes} along ${axis}`);
    }
  }
});

Deno.test("pixels are shown in the scan's aspect, and as stored where nothing says how they lie", () => {
  const volume = createVolume(new Float32Array(4 * 3 * 2), {
    shape: [4, 3, 2],
    spacing: [1, 1, 7],
  });
  const display = displayOf(volume, 1);
  const { width, height } = asShown(new Uint8Array(8), { width: 4, height: 2 }, display);
  assertEquals([display.plane, width, height], ["coronal", 4, 14]);
  const bare = { ...volume, isPlaced: false };
  const { pixels } = asShown(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), {
    width: 4,
    height: 3,
  }, displayOf(bare, 2));
  assertEquals([displayOf(bare, 2).sides, [...pixels]], [null, [
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
  ]]);
});
