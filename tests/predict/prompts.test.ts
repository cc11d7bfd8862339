import { assertEquals, assertThrows } from "@std/assert";
import { planeOf, whole } from "../../lib/data/plane.ts";
import { InputError } from "../../lib/errors.ts";
import { createVolume } from "../../lib/formats/volume.ts";
import {
  fromBox,
  fromClicks,
  fromLesions,
  type PromptContext,
  readSlices,
} from "../../lib/predict/prompts.ts";

const shape = [20, 16, 8] as const;
// Columns run to the left, slices are 5 mm apart; the corner lies at 10, -4, 2.
const affine = Float64Array.of(-2, 0, 0, 10, 0, 2, 0, -4, 0, 0, 5, 2, 0, 0, 0, 1);
const volume = createVolume(new Float32Array(20 * 16 * 8), { shape, affine, spacing: [2, 2, 5] });

function context(options: Partial<PromptContext> & { axis?: 0 | 1 | 2 } = {}): PromptContext {
  const { axis = 2, ...rest } = options;
  const plane = planeOf(volume, axis);
  const grid = { axis, plane, window: whole(plane), count: shape[axis] };
  return { volume, name: "scan", grid, inMillimetres: false, say: () => {}, ...rest };
}

const clicks = (points: string[], background: string[] = []) => ({ points, background, file: [] });

Deno.test("clicks are voxels or millimetres, each an object unless semicolons join them", () => {
  const [one, two] = fromClicks(
    clicks(["3,4,5", "6,7,2;8,9,2;1,1,0"], ["10,11,5", "2,2,7"]),
    context(),
  );
  assertEquals([...one.slices], [[5, {
    points: [{ x: 3, y: 4, label: 1 }, { x: 10, y: 11, label: 0 }],
  }]]);
  assertEquals([...one.beside!], [[7, [{ x: 2, y: 2, label: 0 }]]]);
  assertEquals(one.spread, [0, 7]);
  assertEquals([...two.slices.keys()], [2, 0]);
  assertEquals(two.slices.get(2)!.points, [{ x: 6, y: 7, label: 1 }, { x: 8, y: 9, label: 1 }]);
  // 10 - 2 x = 4, -4 + 2 y = 4, 2 + 5 z = 27
  const [mm] = fromClicks(clicks(["4,4,27"]), context({ inMillimetres: true }));
  assertEquals([...mm.slices], [[5, { points: [{ x: 3, y: 4, label: 1 }] }]]);
  // Slices along axis 0 have columns along y and rows along z.
  const [across] = fromClicks(clicks(["3,4,5"]), context({ axis: 0 }));
  assertEquals([...across.slices], [[3, { points: [{ x: 4, y: 5, label: 1 }] }]]);
});

Deno.test("a click that lies outside the scan or its crop is refused", () => {
  const crop = context();
  const cropped = { ...crop, grid: { ...crop.grid, window: { x: 5, y: 4, width: 10, height: 8 } } };
  const cases: [string, PromptContext, RegExp][] = [
    ["3,4", context(), /--point cannot be 3,4: give x,y,z/],
    ["20,4,5", context(), /--point 20,4,5 lies outside scan, whose voxels are 0,0,0 to 19,15,7/],
    ["20,4,5", context({ inMillimetres: true }), /20,4,5 mm \(voxel -5,4,1\) lies outside/],
    ["3,4,5", cropped, /outside the centre crop of 10 x 8/],
  ];
  for (const [text, where, says] of cases) {
    const error = assertThrows(() => fromClicks(clicks([text]), where), InputError);
    assertEquals(says.test(error.message), true, error.message);
  }
  const [inside] = fromClicks(clicks(["6,7,5"]), cropped);
  assertEquals(inside.slices.get(5), { points: [{ x: 1, y: 3, label: 1 }] });
});

Deno.test("clicks and boxes in the volume stay within the slices that are chosen", () => {
  const range = [2, 5] as const;
  const [inside] = fromClicks({ ...clicks(["3,4,5"]), range }, context());
  assertEquals(inside.spread, [2, 5]);
  for (const outside of [clicks(["3,4,6"]), clicks(["3,4,5"], ["3,4,1"])]) {
    assertThrows(
      () => fromClicks({ ...outside, range }, context()),
      InputError,
      "--slices names 2 to 5",
    );
  }
  const box = fromBox("2,3,4,9,10,8", range, context());
  assertEquals([[...box.slices.keys()], box.spread], [[4], [4, 5]]);
  assertThrows(
    () => fromBox("2,3,6,9,10,8", range, context()),
    InputError,
    "none of the slices 2 to 5",
  );
});

Deno.test("a box is clipped to the slice and said, or refused where it lies outside", () => {
  const said: string[] = [];
  const where = context({ say: (line) => said.push(line) });
  const inSlices = fromBox("-3,2,9,30", [1, 2], where);
  assertEquals([...inSlices.slices], [[1, { box: [0, 2, 9, 16] }], [2, { box: [0, 2, 9, 16] }]]);
  assertEquals(inSlices.spread, null);
  assertEquals(said, [
    "--box -3,2,9,30 reaches beyond the slice of 20 x 16 pixels: clipped to 0,2,9,16",
  ]);
  const inVolume = fromBox("2,3,1,9,10,6", [0, 7], where);
  assertEquals([...inVolume.slices], [[3, { box: [2, 3, 9, 10] }]]);
  assertEquals(inVolume.spread, [1, 5]);
  // The voxels of the corners 6, 0, 7 and 2, 4, 17 mm: 2..4, 2..4, 1..3.
  const mm = fromBox("6,0,7,2,4,17", [0, 7], context({ inMillimetres: true }));
  assertEquals([...mm.slices], [[2, { box: [2, 2, 5, 5] }]]);
  assertEquals(mm.spread, [1, 3]);
  for (
    const [text, says] of [
      ["1,2,3", /give x0,y0,x1,y1 in the slices/],
      ["1,2,,4", /give x0,y0,x1,y1 in the slices/],
      ["5,2,5,9", /each end must be above its start/],
      ["20,2,25,9", /--box 20,2,25,9 lies outside the slice of 20 x 16/],
      ["2,3,8,9,10,12", /none of the slices 0 to 7/],
    ] as const
  ) {
    const error = assertThrows(() => fromBox(text, [0, 7], where), InputError);
    assertEquals(says.test(error.message), true, error.message);
  }
});

Deno.test("each lesion has a box of its own in each of its slices", () => {
  const mask = new Uint8Array(20 * 16 * 8);
  const set = (x: number, y: number, z: number) => mask[x + 20 * (y + 16 * z)] = 1;
  for (const z of [2, 3]) for (const x of [4, 5, 6]) set(x, 7 + z, z);
  for (const y of [1, 2]) set(15, y, 3);
  const [first, second, ...others] = fromLesions(mask, [0, 7], context());
  assertEquals(others, []);
  assertEquals([...first.slices], [[2, { box: [4, 9, 7, 10] }], [3, { box: [4, 10, 7, 11] }]]);
  assertEquals([...second.slices], [[3, { box: [15, 1, 16, 3] }]]);
  const said: string[] = [];
  const some = fromLesions(mask, [2, 2], context({ say: (line) => said.push(line) }));
  assertEquals(some.map(({ slices }) => [...slices.keys()]), [[2]]);
  assertEquals(said.length, 1);
  assertThrows(() => fromLesions(mask, [5, 6], context()), InputError, "no labels");
});

Deno.test("a range of slices is read or refused", () => {
  assertEquals(readSlices(null, 5), [0, 4]);
  assertEquals(readSlices("3", 5), [3, 3]);
  assertEquals(readSlices("1-4", 5), [1, 4]);
  for (const text of ["5", "3-2", "-1", "a", "2-"]) {
    assertThrows(() => readSlices(text, 5), InputError, "from 0 to 4");
  }
});
