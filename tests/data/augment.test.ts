import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import {
  augment,
  type AugmentedSlice,
  augmentForEpoch,
  flip,
  type ImageChange,
  randomFlip,
} from "../../lib/data/augment.ts";
import {
  AUGMENT_DEFAULTS,
  type AugmentOptions,
  parseAugment,
} from "../../lib/data/augment_options.ts";
import { InputError } from "../../lib/errors.ts";
import type { Slice } from "../../lib/data/slices.ts";
import { Random } from "../../lib/random.ts";
import { sourceOf64 } from "../ops/references/augment.ts";

const slice: Slice = {
  ref: {
    id: "a:2:0",
    caseId: "a",
    patient: "a",
    axis: 2,
    index: 0,
    width: 3,
    height: 2,
    spacing: [1, 1],
    sliceSpacing: 1,
    orientation: null,
    depth: 1,
    tumourVoxels: 2,
  },
  image: Float32Array.of(1, 2, 3, 4, 5, 6),
  mask: Uint8Array.of(1, 0, 0, 0, 0, 1),
};

Deno.test("a flip mirrors image and mask alike and leaves its input alone", () => {
  const across = flip(slice, "horizontal");
  assertEquals([...across.image], [3, 2, 1, 6, 5, 4]);
  assertEquals([...across.mask], [0, 0, 1, 1, 0, 0]);
  const down = flip(slice, "vertical");
  assertEquals([...down.image], [4, 5, 6, 1, 2, 3]);
  assertEquals([...down.mask], [0, 0, 1, 1, 0, 0]);
  assertEquals([...slice.image], [1, 2, 3, 4, 5, 6]);
  assertEquals(flip(across, "horizontal"), slice);
});

Deno.test("half of the slices are mirrored left to right and none upside down, by default", () => {
  const random = new Random(1);
  let mirrored = 0;
  for (let i = 0; i < 1000; i++) {
    const first = randomFlip(slice, random).slice.image[0];
    assert(first === 1 || first === 3);
    if (first === 3) mirrored++;
  }
  assert(Math.abs(mirrored - 500) < 60, `${mirrored}`);
});

Deno.test("the chances are those asked for, and one option does not shift the other's draws", () => {
  assertEquals(randomFlip(slice, new Random(1), { horizontal: 0 }), { slice, variant: "" });
  const both = randomFlip(slice, new Random(1), { horizontal: 1, vertical: 1 });
  assertEquals([...both.slice.image], [6, 5, 4, 3, 2, 1]);
  assertEquals(both.variant, "/horizontal/vertical");
  const pattern = (vertical: number) => {
    const random = new Random(7);
    return Array.from({ length: 50 }, () => {
      const { slice: { image } } = randomFlip(slice, random, { vertical });
      return image[0] < image[2]; // not mirrored left to right
    });
  };
  assertEquals(pattern(0), pattern(1));
});

Deno.test("slices of one variant have the same pixels, those of different ones have not", () => {
  const seen = new Map<string, string>();
  const random = new Random(5);
  for (let i = 0; i < 50; i++) {
    const augmented = randomFlip(slice, random, { horizontal: 0.5, vertical: 0.5 });
    const pixels = augmented.slice.image.join();
    assertEquals(seen.get(augmented.variant) ?? pixels, pixels);
    seen.set(augmented.variant, pixels);
  }
  assertEquals(new Set(seen.values()).size, 4);
  assertEquals(seen.get(""), slice.image.join());
});

/** A slice with a tumour, a rectangle [x0, x1) x [y0, y1), and 100 everywhere. */
function rectangle(
  width: number,
  height: number,
  [x0, y0, x1, y1]: readonly [number, number, number, number],
): Slice {
  const mask = Uint8Array.from({ length: width * height }, (_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    return Number(x >= x0 && x < x1 && y >= y0 && y < y1);
  });
  const tumourVoxels = (x1 - x0) * (y1 - y0);
  const ref = { ...slice.ref, id: "r:2:0", width, height, tumourVoxels };
  return { ref, image: new Float32Array(width * height).fill(100), mask };
}

const middle = rectangle(64, 64, [24, 28, 40, 36]);
const area = (mask: Uint8Array) => mask.reduce((sum, pixel) => sum + pixel, 0);

const always = (options: AugmentOptions): AugmentOptions =>
  Object.fromEntries(
    Object.entries(options).map(([name, values]) => [name, { ...values, chance: 1 }]),
  );

Deno.test("each augmentation gets the same numbers whatever the others are", () => {
  // A change in the parts that each augmentation decides by itself.
  const parts = (change: ImageChange | null) => ({
    gamma: change?.gamma,
    "bias-field": change?.bias,
    noise: change?.noise,
    elastic: change?.warp?.displacement,
  });
  const all = always(AUGMENT_DEFAULTS);
  for (let seed = 0; seed < 5; seed++) {
    const together = parts(augment(middle, new Random(seed), all).change);
    for (const name of ["gamma", "bias-field", "noise", "elastic"] as const) {
      const alone = parts(augment(middle, new Random(seed), { [name]: all[name] }).change);
      assertEquals(alone[name], together[name], name);
    }
    const turned = augment(middle, new Random(seed), { rotation: all.rotation }).change!.warp!;
    const both = augment(middle, new Random(seed), {
      rotation: all.rotation,
      scaling: all.scaling,
      elastic: all.elastic,
    }).change!.warp!;
    const angle = ([a, , , c]: readonly number[]) => Math.atan2(c, a);
    assert(Math.abs(angle(both.matrix) - angle(turned.matrix)) < 1e-12);
  }
});

Deno.test("what is drawn repeats for a seed, differs between seeds and lies within its range", () => {
  const all = always(AUGMENT_DEFAULTS);
  const draw = (seed: number) => augment(middle, new Random(seed), all);
  assertEquals(draw(3), draw(3));
  assertNotEquals(draw(3), draw(4));
  const angles: number[] = [];
  const scales: number[] = [];
  const gammas: number[] = [];
  for (let seed = 0; seed < 400; seed++) {
    const { warp, gamma, bias, noise } = draw(seed).change!;
    const [a, , , c] = warp!.matrix;
    angles.push(Math.atan2(-c, a) * 180 / Math.PI);
    scales.push(1 / Math.hypot(a, c));
    gammas.push(gamma);
    const { shifts, spacing } = warp!.displacement!;
    assert(shifts.every((shift) => Math.abs(shift) <= 0.03 * 64));
    assert(Math.max(...shifts) < 0.4 * spacing, "no fold");
    assertEquals(bias!.coefficients.length, 9);
    assert(bias!.coefficients.every((value) => Math.abs(value) <= Math.fround(0.2)));
    assertEquals(noise!.deviation, 0, "a slice without contrast has no noise");
  }
  for (
    const [values, low, high, middle] of [
      [angles, -15, 15, 0],
      [scales, 0.85, 1.2, 1],
      [gammas, 0.7, 1.5, 1],
    ] as const
  ) {
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const tenth = 0.1 * (high - low);
    assert(
      least >= low - 1e-9 && least < low + tenth && most <= high + 1e-9 && most > high - tenth,
    );
    const below = values.filter((value) => value < middle).length;
    assert(Math.abs(below - 200) < 50, `${below} of 400 below ${middle}`);
  }
});

Deno.test("chances are those asked for, and nothing drawn leaves the slice itself", () => {
  const options = { noise: { low: 0.1, high: 0.1, chance: 0.3 } };
  let changed = 0;
  for (let seed = 0; seed < 1000; seed++) {
    const augmented = augment(middle, new Random(seed), options);
    if (augmented.change) changed++;
    assertEquals(augmented.slice, middle);
  }
  assert(Math.abs(changed - 300) < 70, `${changed}`);
  assertEquals(augment(middle, new Random(0), {}), { slice: middle, change: null });
});

Deno.test("an elastic deformation does not fold, in slices of any shape", () => {
  // As far as control points may be moved: 0.4 of their distance.
  const elastic = { magnitude: 0.4 / 6, controlPoints: 7, chance: 1 };
  for (const [width, height] of [[64, 64], [90, 31], [31, 90]]) {
    const slice = rectangle(width, height, [10, 10, 20, 20]);
    for (let seed = 0; seed < 3; seed++) {
      const { warp } = augment(slice, new Random(seed), { elastic }).change!;
      for (let y = 1; y < height; y++) {
        for (let x = 1; x < width; x++) {
          const [px, py] = sourceOf64(x, y, warp!);
          const [lx, ly] = sourceOf64(x - 1, y, warp!);
          const [ux, uy] = sourceOf64(x, y - 1, warp!);
          const area = (px - lx) * (py - uy) - (px - ux) * (py - ly);
          assert(area > 0, `the area about (${x}, ${y}) is ${area}`);
        }
      }
    }
  }
});

Deno.test("a turn keeps distances in millimetres where pixels are not square", () => {
  const slice = { ...middle, ref: { ...middle.ref, spacing: [1, 3] as const } };
  const rotation = { degrees: 180, chance: 1 };
  for (let seed = 0; seed < 5; seed++) {
    const { warp } = augment(slice, new Random(seed), { rotation }).change!;
    const place = (x: number, y: number) => {
      const [u, v] = sourceOf64(x, y, warp!);
      return [u, 3 * v];
    };
    const [x0, y0] = place(10, 10);
    for (const [dx, dy] of [[5, 0], [0, 5], [4, -3]]) {
      const [x1, y1] = place(10 + dx, 10 + dy);
      const length = Math.hypot(x1 - x0, y1 - y0);
      assert(Math.abs(length - Math.hypot(dx, 3 * dy)) < 1e-9, `${length}`);
    }
  }
});

Deno.test("the tumour stays in the image, wherever it lies and however small it is", () => {
  const strong = {
    rotation: { degrees: 90, chance: 1 },
    scaling: { low: 0.5, high: 2, chance: 1 },
    elastic: { magnitude: 0.05, controlPoints: 7, chance: 1 },
  };
  for (
    const slice of [
      middle,
      rectangle(64, 64, [0, 0, 6, 6]), // in a corner, which a turn takes away
      rectangle(64, 64, [30, 30, 31, 31]), // one pixel
      rectangle(64, 64, [61, 10, 64, 13]), // nine pixels at a border
      rectangle(96, 40, [80, 30, 96, 40]),
      rectangle(40, 96, [0, 90, 20, 96]),
    ]
  ) {
    const before = area(slice.mask);
    let moved = 0;
    for (let seed = 0; seed < 40; seed++) {
      const { slice: { mask }, change } = augment(slice, new Random(seed), strong);
      const after = area(mask);
      assert(after >= Math.min(before, 10), `${before} pixels became ${after}`);
      if (!change) assertEquals(mask, slice.mask);
      if (!change?.warp) continue;
      moved++;
      const [a, , , c] = change.warp.matrix;
      assert(after >= 0.5 * before / Math.hypot(a, c) ** 2 - 1e-9, `${before}, ${after}`);
    }
    console.log(
      `${before} pixels in ${slice.ref.width} x ${slice.ref.height}: ${moved} of 40 moved`,
    );
    assert(moved > 0);
  }
  const empty = rectangle(64, 64, [0, 0, 0, 0]);
  assert(
    augment(empty, new Random(0), strong).change?.warp,
    "a slice without tumour can be warped",
  );
  // A tumour that no draw can keep: a third of what is turned out of the long side's ends remains.
  const lost = rectangle(300, 8, [290, 0, 300, 8]);
  const turned = { rotation: { degrees: 180, chance: 1 }, noise: AUGMENT_DEFAULTS.noise };
  const still = augment(lost, new Random(8), always(turned));
  assertEquals([still.change!.warp, still.slice.mask], [null, lost.mask]);
  assert(still.change!.noise, "the rest is done all the same");
});

Deno.test("an epoch augments anew by default, whatever was drawn before, and flips alone are kept", () => {
  const options = { flip: 0.5, augment: AUGMENT_DEFAULTS, augmentVariants: 0, seed: 3 };
  const at = (epoch: number, used = 0) => {
    const order = new Random(3).fork(`epoch ${epoch}`);
    const fresh = new Random(3).fork(`epoch ${epoch}`);
    for (let i = 0; i < used; i++) order.uniform();
    const augmented = augmentForEpoch(middle, { epoch, order }, options);
    return { change: augmented.change, fresh: fresh.uniform() };
  };
  assertEquals(at(1), at(1, 7));
  assertNotEquals(at(1).change, at(2).change);
  const variants = new Set<string | null>();
  const seldom = { ...options, augment: { noise: { low: 0, high: 1, chance: 0.3 } } };
  for (let epoch = 1; epoch <= 50; epoch++) {
    const order = new Random(epoch);
    const { change, variant } = augmentForEpoch(middle, { epoch, order }, seldom);
    assertEquals(variant === null, change !== null, "what comes once is not to be kept");
    variants.add(variant);
  }
  assertEquals(variants, new Set([null, "", "/horizontal"]));
});

Deno.test("without other augmentations an epoch's flips are those of its stream", () => {
  const order = new Random("order");
  const same = new Random("order");
  for (let i = 0; i < 20; i++) {
    const options = { flip: 0.5, augment: {}, augmentVariants: 0, seed: 0 };
    const { slice, variant, change } = augmentForEpoch(middle, { epoch: 1, order }, options);
    assertEquals({ slice, variant, change }, { ...randomFlip(middle, same), change: null });
  }
});

Deno.test("epochs walk through a slice's variants, each with a name and pixels of its own", () => {
  const options = { flip: 0.5, augment: always(AUGMENT_DEFAULTS), augmentVariants: 3, seed: 5 };
  const at = (epoch: number, given = options): AugmentedSlice =>
    augmentForEpoch(middle, { epoch, order: new Random(epoch) }, given);
  const round = [1, 2, 3, 4].map((epoch) => at(epoch));
  assertEquals(round.filter(({ variant }) => variant === "").length, 1, "the slice itself is one");
  assertEquals(new Set(round.map(({ variant }) => variant)).size, 4);
  assertEquals(new Set(round.map(({ change }) => JSON.stringify(change))).size, 4);
  assertEquals([5, 6, 7, 8].map((epoch) => at(epoch)), round, "then they come again");
  const names = new Set(round.map(({ variant }) => variant));
  for (const other of [{ ...options, seed: 6 }, { ...options, flip: 0.4 }]) {
    for (const { variant } of [1, 2, 3, 4].map((epoch) => at(epoch, other))) {
      assert(variant === "" || !names.has(variant), "other draws, other names");
    }
  }
  const firsts = Array.from({ length: 40 }, (_, i) => {
    const ref = { ...middle.ref, id: `slice ${i}` };
    const first = augmentForEpoch({ ...middle, ref }, { epoch: 1, order: new Random(0) }, options);
    return first.variant === "";
  });
  const plain = firsts.filter(Boolean).length;
  assert(plain > 2 && plain < 25, `${plain} of 40 slices begin with themselves`);
});

Deno.test("a list of augmentations reads as it is written", () => {
  assertEquals(parseAugment("none"), { flip: 0, augment: {} });
  assertEquals(parseAugment("all"), { flip: 0.5, augment: AUGMENT_DEFAULTS });
  assertEquals(parseAugment("flip"), { flip: 0.5, augment: {} });
  assertEquals(parseAugment("flip@0.3, rotation=20, gamma=0.8:1.25@0.1,noise@1"), {
    flip: 0.3,
    augment: {
      rotation: { degrees: 20, chance: 0.5 },
      gamma: { low: 0.8, high: 1.25, chance: 0.1 },
      noise: { low: 0, high: 0.1, chance: 1 },
    },
  });
  for (
    const [text, message] of [
      ["rotate", 'there is no augmentation "rotate": choose flip, rotation, scaling, elastic'],
      ["", 'there is no augmentation ""'],
      ["all,flip", 'there is no augmentation "all"'],
      ["constructor", 'there is no augmentation "constructor"'],
      ["gamma,gamma", "the augmentation gamma is named twice"],
      ["flip=0.5", "flip has no strength"],
      ["gamma=2", 'the augmentation "gamma=2" is not one: write gamma=LOW:HIGH'],
      ["rotation=1:2", "write rotation=DEGREES"],
      ["rotation=", 'holds "" where a number belongs'],
      ["rotation=ten", 'holds "ten" where a number belongs'],
      ["noise@", 'holds "" where a number belongs'],
      ["flip@2", 'the chance of "flip@2" is not within 0 and 1'],
      ["noise@-0.1", 'the chance of "noise@-0.1" is not within 0 and 1'],
      ["noise@Infinity", 'holds "Infinity" where a number belongs'],
    ]
  ) {
    assertThrows(() => parseAugment(text), InputError, message);
  }
});
