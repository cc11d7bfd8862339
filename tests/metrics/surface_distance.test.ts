import { assertAlmostEquals, assertEquals } from "@std/assert";
import { Random } from "../../lib/random.ts";
import { squaredDistanceTo } from "../../lib/data/distance.ts";
import { scoreMask } from "../../lib/metrics/mask_score.ts";
import { type MaskGrid, surfaceDistances } from "../../lib/metrics/surface_distance.ts";
import fixtures from "./fixtures/surface_distance.json" with { type: "json" };

type Triple = readonly [number, number, number];

const bits = (text: string) => Uint8Array.from(text, Number);

/** Coordinates in mm of a mask's elements that have a face neighbour outside; one by one. */
function surfacePoints(mask: Uint8Array, { shape: [nx, ny, nz], spacing }: MaskGrid): Triple[] {
  const at = (x: number, y: number, z: number) =>
    x >= 0 && x < nx && y >= 0 && y < ny && z >= 0 && z < nz && mask[(z * ny + y) * nx + x] !== 0;
  const points: Triple[] = [];
  for (let z = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++) {
        if (!at(x, y, z)) continue;
        const faces = [[x - 1, y, z], [x + 1, y, z], [x, y - 1, z], [x, y + 1, z]];
        if (nz > 1) faces.push([x, y, z - 1], [x, y, z + 1]);
        if (faces.some(([i, j, k]) => !at(i, j, k))) {
          points.push([x * spacing[0], y * spacing[1], z * spacing[2]]);
        }
      }
    }
  }
  return points;
}

const nearest = (from: readonly Triple[], to: readonly Triple[]) =>
  from.map((p) => Math.min(...to.map((q) => Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]))));

Deno.test("HD95 and surface Dice are MONAI's, in slices and volumes of any spacing", () => {
  for (const { shape, spacing, prediction, truth, ...expected } of fixtures) {
    const score = scoreMask(bits(prediction), bits(truth), {
      level: shape[2] === 1 ? "slice" : "case",
      shape: shape as unknown as Triple,
      spacing: spacing as unknown as Triple,
    });
    for (const metric of ["hd95", "surfaceDice1mm", "surfaceDice2mm"] as const) {
      assertAlmostEquals(score[metric]!, expected[metric], 1e-5, `${shape}: ${metric}`);
    }
  }
});

Deno.test("distances between surfaces are those of every pair of their elements", () => {
  const random = new Random("surfaces");
  for (let round = 0; round < 60; round++) {
    const size = () => 1 + random.int(7);
    const grid: MaskGrid = {
      shape: [size(), size(), size()],
      spacing: [random.uniformIn(0.3, 2), random.uniformIn(0.3, 2), random.uniformIn(0.3, 7)],
    };
    const count = grid.shape.reduce((a, b) => a * b);
    const density = random.uniformIn(0.1, 0.95);
    const [prediction, truth] = [0, 1].map(() =>
      Uint8Array.from({ length: count }, () => random.uniform() < density ? 1 : 0)
    );
    const found = surfaceDistances(prediction, truth, grid);
    const [own, other] = [surfacePoints(prediction, grid), surfacePoints(truth, grid)];
    const close = (values: Float64Array, expected: number[]) => {
      assertEquals(values.length, expected.length);
      values.forEach((value, i) =>
        expected[i] === Infinity
          ? assertEquals(value, Infinity)
          : assertAlmostEquals(value, expected[i], 1e-9)
      );
    };
    close(found.toTruth, nearest(own, other));
    close(found.toPrediction, nearest(other, own));
  }
});

Deno.test("the distance transform with a spacing is the nearest of all set voxels", () => {
  const random = new Random("distances");
  for (let round = 0; round < 30; round++) {
    const shape: Triple = [1 + random.int(8), 1 + random.int(8), 1 + random.int(5)];
    const spacing: Triple = [random.uniformIn(0.2, 3), random.uniformIn(0.2, 3), 1];
    const [nx, ny, nz] = shape;
    const set = Uint8Array.from({ length: nx * ny * nz }, () => random.uniform() < 0.1 ? 1 : 0);
    const points: Triple[] = [...set.keys()].map((i) => [
      (i % nx) * spacing[0],
      (Math.floor(i / nx) % ny) * spacing[1],
      Math.floor(i / (nx * ny)) * spacing[2],
    ]);
    const expected = nearest(points, points.filter((_, i) => set[i]));
    squaredDistanceTo(set, { shape, spacing }).forEach((value, i) => {
      if (expected[i] === Infinity) assertEquals(value, Infinity);
      else assertAlmostEquals(Math.sqrt(value), expected[i], 1e-9);
    });
  }
});

/** A slice of 6 x 4 pixels of 2 mm by 0.5 mm. */
const grid = { level: "slice", shape: [6, 4, 1], spacing: [2, 0.5, 1] } as const;
const truth = bits("000000" + "011000" + "011000" + "000000");
const shifted = bits("000000" + "001100" + "001100" + "000000");
const empty = new Uint8Array(24);
const errors = (signed: number | null, absolute: number | null) => ({
  signedVolumeError: signed,
  absoluteVolumeError: absolute,
});
/** The metrics of masks without a prompt. */
const unprompted = (
  sensitivity: number | null,
  healthyPainted: number | null,
  healthyArea: number | null,
) => ({ sensitivity, healthyPainted, healthyArea });

Deno.test("sizes and errors are in mm² of the slice", () => {
  const score = scoreMask(shifted, truth, grid);
  assertEquals([score.truth, score.predicted, score.falsePositive], [4, 4, 2]);
  assertEquals([score.signedVolumeError, score.absoluteVolumeError], [0, 0]);
  // Half of each surface coincides, the other half is a column, 2 mm, away.
  assertEquals([score.hd95, score.surfaceDice1mm, score.surfaceDice2mm], [2, 0.5, 1]);
  const all = new Uint8Array(24).fill(1);
  const { signedVolumeError, absoluteVolumeError } = scoreMask(all, truth, grid);
  assertEquals([signedVolumeError, absoluteVolumeError], [5, 5]);
  assertEquals(scoreMask(all, truth, grid).falsePositive, 20);
  assertEquals(scoreMask(truth, truth, { ...grid, spacing: [2, 0.5, 3] }).truth, 12);
});

Deno.test("an equal mask is perfect, and so is finding that there is nothing", () => {
  const perfect = { dice: 1, iou: 1, hd95: 0, surfaceDice1mm: 1, surfaceDice2mm: 1 };
  const equal = { ...perfect, truth: 4, predicted: 4, falsePositive: 0, ...errors(0, 0) };
  const found = unprompted(1, null, null);
  assertEquals(scoreMask(truth, truth, grid), { ...equal, ...found });
  const none = { ...perfect, truth: 0, predicted: 0, falsePositive: 0, ...errors(null, null) };
  assertEquals(scoreMask(empty, empty, grid), { ...none, ...unprompted(null, 0, 0) });
});

Deno.test("missing all, or finding what is not there, scores nothing and the grid's diagonal", () => {
  const worst = { dice: 0, iou: 0, surfaceDice1mm: 0, surfaceDice2mm: 0, hd95: Math.hypot(12, 2) };
  const missed = { ...worst, truth: 4, predicted: 0, falsePositive: 0, ...errors(-1, 1) };
  assertEquals(scoreMask(empty, truth, grid), { ...missed, ...unprompted(0, null, null) });
  const invented = { ...worst, truth: 0, predicted: 4, falsePositive: 4, ...errors(null, null) };
  assertEquals(scoreMask(truth, empty, grid), { ...invented, ...unprompted(null, 1, 4) });
});

Deno.test("errors that cancel in the signed mean do not in the absolute one", () => {
  const half = bits("000000" + "010000" + "010000" + "000000");
  const more = bits("000000" + "011100" + "011100" + "000000");
  const of = (mask: Uint8Array) => scoreMask(mask, truth, grid);
  assertEquals([of(half).signedVolumeError, of(more).signedVolumeError], [-0.5, 0.5]);
  assertEquals([of(half).absoluteVolumeError, of(more).absoluteVolumeError], [0.5, 0.5]);
});

Deno.test("of some slices of a volume there is the overlap, and no outline, lesion or size", () => {
  const whole = scoreMask(shifted, truth, { ...grid, level: "case" });
  const part = scoreMask(shifted, truth, { ...grid, level: "case", part: true });
  for (const [name, value] of Object.entries(whole)) {
    const kept = ["dice", "iou", "truth", "predicted"].includes(name);
    assertEquals(part[name as "dice"], kept ? value : null, name);
  }
});

Deno.test("planes beyond open ends are unknown: a stack cut out of a body has its side alone as surface", () => {
  const random = new Random("open ends");
  const [nx, ny, nz] = [7, 6, 4];
  const spacing = [0.5, 0.75, 3] as const;
  for (let round = 0; round < 20; round++) {
    const masks = [0, 1].map(() =>
      Uint8Array.from({ length: nx * ny * nz }, () => Number(random.uniform() < 0.7))
    );
    // The ends repeated: closed surfaces of the longer stack, without those of what was added.
    const surface = (mask: Uint8Array) => {
      const plane = nx * ny;
      const longer = [...mask.subarray(0, plane), ...mask, ...mask.subarray(-plane)];
      const set = (x: number, y: number, z: number) =>
        x >= 0 && x < nx && y >= 0 && y < ny && longer[z * plane + y * nx + x] !== 0;
      const found: number[][] = [];
      for (let z = 1; z <= nz; z++) {
        for (let y = 0; y < ny; y++) {
          for (let x = 0; x < nx; x++) {
            const inner = set(x - 1, y, z) && set(x + 1, y, z) && set(x, y - 1, z) &&
              set(x, y + 1, z) && set(x, y, z - 1) && set(x, y, z + 1);
            if (set(x, y, z) && !inner) found.push([x, y, z]);
          }
        }
      }
      return found;
    };
    const [own, other] = masks.map(surface);
    const nearest = own.map((a) =>
      Math.min(...other.map((b) => Math.hypot(...a.map((at, i) => (at - b[i]) * spacing[i]))))
    );
    const { toTruth } = surfaceDistances(masks[0], masks[1], {
      shape: [nx, ny, nz],
      spacing,
      openEnds: true,
    });
    assertEquals(toTruth.length, nearest.length);
    toTruth.forEach((value, i) => assertAlmostEquals(value, nearest[i], 1e-9));
  }
});

Deno.test("a stack of equal slices has the surface Dice of one of them, however many there are", () => {
  const slice = scoreMask(shifted, truth, grid);
  for (const depth of [2, 3, 8]) {
    const stack = (mask: Uint8Array) => Uint8Array.from(Array(depth).fill([...mask]).flat());
    const volume = scoreMask(stack(shifted), stack(truth), {
      level: "case",
      shape: [6, 4, depth],
      spacing: [2, 0.5, 7],
      openEnds: true,
    });
    assertEquals(volume.surfaceDice1mm, slice.surfaceDice1mm);
    assertEquals(volume.hd95, slice.hd95);
  }
});
