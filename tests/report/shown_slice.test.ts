import { assertEquals } from "@std/assert";
import { orientationOf } from "../../lib/data/orientation.ts";
import { cut, planeOf, whole } from "../../lib/data/plane.ts";
import { createVolume, type Volume } from "../../lib/formats/volume.ts";
import { conventionNote, showSlice } from "../../lib/report/shown_slice.ts";

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
    letters[letter as keyof typeof letters].forEach((value, row) => {
      affine[4 * row + column] = value;
      affine[4 * row + 3] -= 1.5 * value;
    })
  );
  affine[15] = 1;
  const data = new Float32Array(64);
  for (let i = 0; i < 64; i++) {
    const voxel = [i % 4, i >> 2 & 3, i >> 4];
    const mm = [0, 1, 2].map((row) =>
      voxel.reduce((sum, at, k) => sum + affine[4 * row + k] * at, affine[4 * row + 3])
    );
    data[i] = Number(mm[0] > 1) + 2 * Number(mm[1] > 1) + 4 * Number(mm[2] > 1);
  }
  return createVolume(data, { shape: [4, 4, 4], affine });
}

/** A slice of a volume as it is shown. */
function show(volume: Volume, axis: 0 | 1 | 2) {
  const plane = planeOf(volume, axis);
  const image = cut(volume.data, plane, { ...whole(plane), index: 1 });
  return showSlice({ ...plane, image, axis, orientation: orientationOf(volume) });
}

const AXES = ["RAS", "LPS", "LAI", "ASR", "PIL", "SRA", "IRP"];

Deno.test("slices are shown in radiological convention, however the voxels run", () => {
  for (const axes of AXES) {
    for (const axis of [0, 1, 2] as const) {
      const volume = volumeOf(axes);
      assertEquals(orientationOf(volume), axes);
      const { image: shown, width, plane } = show(volume, axis);
      const [left, right, top, bottom] = [shown[width], shown[2 * width - 1], shown[1], shown[13]];
      const expected = {
        axial: { left: 1, right: 0, top: 2, bottom: 0 },
        coronal: { left: 1, right: 0, top: 4, bottom: 0 },
        sagittal: { left: 2, right: 0, top: 4, bottom: 0 },
        "as stored": null,
      }[plane];
      const normal = axes[axis];
      assertEquals(
        plane,
        "RL".includes(normal) ? "sagittal" : "AP".includes(normal) ? "coronal" : "axial",
      );
      assertEquals({ left, right, top, bottom }, expected!, `${axes} along ${axis}`);
    }
  }
});

Deno.test("a box is where the mask of its pixels is", () => {
  const [width, height] = [5, 4];
  const mask = Uint8Array.from(
    { length: 20 },
    (_, i) => Number(i % 5 >= 1 && i % 5 < 3 && i >= 10),
  );
  for (const orientation of [null, ...AXES]) {
    const slice = { image: mask, width, height, spacing: [1, 2] as const, axis: 2 as const };
    const shown = showSlice({ ...slice, orientation });
    const [x0, y0, x1, y1] = shown.showBox([1, 2, 3, 4]);
    const drawn = Uint8Array.from(
      shown.image,
      (_, i) => {
        const [x, y] = [i % shown.width, Math.floor(i / shown.width)];
        return Number(x >= x0 && x < x1 && y >= y0 && y < y1);
      },
    );
    assertEquals(drawn, shown.showMask(mask), String(orientation));
  }
});

Deno.test("pixels are shown in the scan's aspect, and as stored where nothing says how they lie", () => {
  const flat = createVolume(new Float32Array(4 * 3 * 2), { shape: [4, 3, 2], spacing: [1, 1, 7] });
  // Centred, as scanners do; from the corner on, a bare scaling says nothing of the patient.
  const affine = Float64Array.of(1, 0, 0, -2, 0, 1, 0, -1.5, 0, 0, 7, 0, 0, 0, 0, 1);
  const { plane, width, height } = show({ ...flat, affine }, 1);
  assertEquals([plane, width, height], ["coronal", 4, 14]);
  const data = Float32Array.from({ length: 24 }, (_, i) => i);
  for (const bare of [{ ...flat, data }, { ...flat, data, affine, isPlaced: false }]) {
    const shown = show(bare, 2);
    assertEquals([shown.sides, [...shown.image]], [null, [...data.subarray(12)]]);
  }
});

Deno.test("the corner of a picture says how its slices lie", () => {
  const [known, stored] = [{ sides: { left: "R", top: "A" } }, { sides: null }];
  const starts = [[known], [stored], [known, stored]].map((slices) =>
    conventionNote(slices).slice(0, 23)
  );
  assertEquals(starts, [
    "Radiological convention",
    "Slices as stored: their",
    "Radiological convention",
  ]);
});
