import { assert, assertEquals, assertThrows } from "@std/assert";
import { augment, type ImageChange } from "../../lib/data/augment.ts";
import { AUGMENT_DEFAULTS, type AugmentOptions } from "../../lib/data/augment_options.ts";
import { inputGeometry, toModelInput } from "../../lib/data/preprocess.ts";
import { SAM_INPUT } from "../../lib/sam/models.ts";
import type { Slice } from "../../lib/data/slices.ts";
import { affineMatrix, warpMask } from "../../lib/data/warp.ts";
import { Random } from "../../lib/random.ts";
import { augmentImage, modelInput } from "../../lib/tensor/ops/augment.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { discs } from "../train/discs.ts";
import { augmentImage64, normal64 } from "./references/augment.ts";

const none: ImageChange = { warp: null, gamma: 1, bias: null, noise: null };

/**
 * Error of a normal deviate for that of its sine or cosine, of which WGSL promises 2^-11 (section 15.7.4.1); the
 * radius of the Box-Muller transform of a hash of 32 bits stays below 7.
 */
const SINE_ERROR = 7 * 2 ** -11;

/** A smooth picture with a tumour, so that a pixel's place and not its noise decides its value. */
async function slice(width: number, height: number): Promise<Slice> {
  const reader = discs("augmented", { count: 1, width, height });
  const { ref, mask } = await reader.read(reader.refs[0]);
  const image = Float32Array.from(
    mask,
    (inside, i) =>
      Math.fround(
        120 + 60 * Math.sin(i % width / 5) + 50 * Math.cos(Math.floor(i / width) / 7) + 20 * inside,
      ),
  );
  return { ref: { ...ref, spacing: [0.9, 1.1] }, image, mask };
}

const always = (options: AugmentOptions): AugmentOptions =>
  Object.fromEntries(
    Object.entries(options).map(([name, values]) => [name, { ...values, chance: 1 }]),
  );

async function run({ ref: { width, height } }: Slice, image: Float32Array, change: ImageChange) {
  using _ = new Scope(gpu);
  return await augmentImage(Tensor.from(gpu, image, [height, width]), change).data();
}

/** The largest difference of two arrays. */
function largest(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assertEquals(actual.length, expected.length);
  let worst = 0;
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(actual[i] - expected[i]);
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

Deno.test("each augmentation alone, and all together, is what its definition gives in float64", async () => {
  const kinds = Object.keys(AUGMENT_DEFAULTS) as (keyof AugmentOptions)[];
  const cases: [string, AugmentOptions][] = [
    ...kinds.map((kind): [string, AugmentOptions] => [kind, { [kind]: AUGMENT_DEFAULTS[kind] }]),
    ["all", AUGMENT_DEFAULTS],
    ["a field of order 5", { "bias-field": { strength: 0.3, order: 5, chance: 1 } }],
  ];
  for (const [width, height] of [[64, 64], [61, 83]]) {
    const plain = await slice(width, height);
    for (const [name, options] of cases) {
      let [worst, bound] = [0, 0];
      for (let seed = 0; seed < 3; seed++) {
        const { change } = augment(plain, new Random(seed), always(options));
        assert(change, name);
        bound = Math.max(bound, 5e-3 + (change.noise?.deviation ?? 0) * SINE_ERROR);
        const expected = augmentImage64({
          shape: [height, width],
          data: Float64Array.from(plain.image),
        }, change);
        worst = Math.max(worst, largest(await run(plain, plain.image, change), expected.data));
        assert(largest(expected.data, plain.image) > 1, `${name} does something`);
      }
      console.log(`${name}, ${width} x ${height}: largest error ${worst.toExponential(1)} of 255`);
      assert(worst < bound, `${name}: ${worst}`);
    }
  }
});

Deno.test("parameters that stand for nothing give the slice's bits", async () => {
  const plain = await slice(61, 83);
  const { width, height, spacing } = plain.ref;
  const matrix = affineMatrix({ width, height, spacing, degrees: 0, scale: 1 });
  const still = { spacing: 20, columns: 7, rows: 8, shifts: new Float32Array(2 * 7 * 8) };
  const flat = { order: 3, coefficients: new Float32Array(9) };
  for (
    const change of [
      none,
      { ...none, warp: { matrix, displacement: null } },
      { ...none, warp: { matrix, displacement: still } },
      { ...none, noise: { deviation: 0, seed: 1 } },
    ]
  ) {
    assertSameBits(await run(plain, plain.image, change), plain.image, JSON.stringify(change));
  }
  // exp(0) is 1 within the last bit of this device.
  const even = await run(plain, plain.image, { ...none, bias: flat });
  assert(largest(even, plain.image) < 1e-4);
  assertEquals(
    warpMask({ ...plain.ref, mask: plain.mask }, { matrix, displacement: still }),
    plain.mask,
  );
});

Deno.test("a quarter turn takes each pixel to its place, and what comes from outside is black", async () => {
  const plain = await slice(64, 64);
  const warp = {
    matrix: affineMatrix({ width: 64, height: 64, spacing: [1, 1], degrees: 90, scale: 1 }),
    displacement: null,
  };
  const turned = await run(plain, plain.image, { ...none, warp });
  const expected = plain.image.map((_, i) => plain.image[(63 - i % 64) * 64 + Math.floor(i / 64)]);
  assert(largest(turned, expected) < 1e-2, "clockwise: the top row becomes the right column");
  const { warp: away } = { warp: { matrix: [1, 0, 40, 0, 1, 0], displacement: null } as const };
  const moved = await run(plain, plain.image, { ...none, warp: away });
  moved.forEach((value, i) =>
    assertEquals(value, i % 64 + 40 < 64 ? plain.image[i + 40] : 0, `pixel ${i}`)
  );
});

Deno.test("a mask warped on the host is the mask warped as an image on the device", async () => {
  const geometry = always({
    rotation: { degrees: 40, chance: 1 },
    scaling: { low: 0.7, high: 1.4, chance: 1 },
    elastic: AUGMENT_DEFAULTS.elastic,
  });
  let [differing, pixels] = [0, 0];
  for (const [width, height] of [[64, 64], [61, 83], [120, 40]]) {
    const plain = await slice(width, height);
    for (let seed = 0; seed < 20; seed++) {
      const { slice: { mask }, change } = augment(plain, new Random(seed), geometry);
      if (!change) continue;
      const values = await run(plain, Float32Array.from(plain.mask), change);
      mask.forEach((pixel, i) => {
        pixels++;
        if (pixel === Number(values[i] >= 0.5)) return;
        differing++;
        assert(Math.abs(values[i] - 0.5) < 1e-3, `seed ${seed}, pixel ${i} is ${values[i]}`);
      });
    }
  }
  console.log(`${differing} of ${pixels} pixels differ, each within 0.001 of one half`);
  assert(pixels > 200_000 && differing < 1e-5 * pixels);
});

Deno.test("noise is normal and white, repeats for its seed and is independent of other seeds'", async () => {
  const plain = await slice(200, 200);
  const grey = new Float32Array(200 * 200).fill(128);
  const noise = async (seed: number) => {
    const values = await run(plain, grey, { ...none, noise: { deviation: 10, seed } });
    return values.map((value) => (value - 128) / 10);
  };
  const [first, again, next] = [await noise(1), await noise(1), await noise(2)];
  assertSameBits(first, again, "the same seed");
  const n = first.length;
  const mean = (values: Float32Array, of: (x: number, i: number) => number) =>
    values.reduce((sum, x, i) => sum + of(x, i), 0) / n;
  const five = 5 / Math.sqrt(n); // five standard deviations of a mean of n
  assert(Math.abs(mean(first, (x) => x)) < five);
  assert(Math.abs(mean(first, (x) => x ** 2) - 1) < Math.SQRT2 * five);
  assert(Math.abs(mean(first, (x) => x ** 3)) < Math.sqrt(15) * five);
  assert(Math.abs(mean(first, (x) => x ** 4) - 3) < Math.sqrt(96) * five);
  for (const shift of [1, 2, 3, 4, 200]) {
    assert(Math.abs(mean(first, (x, i) => x * first[(i + shift) % n])) < five, `shift ${shift}`);
    assert(Math.abs(mean(first, (x, i) => x * next[(i + shift) % n])) < five, `seeds, ${shift}`);
  }
  assert(Math.abs(mean(first, (x, i) => x * next[i])) < five, "two seeds");
  assert(
    largest(first, first.map((_, i) => normal64([i % 200, Math.floor(i / 200)], 200, 1))) <
      SINE_ERROR,
  );
});

Deno.test("the device's model input is the host's", async () => {
  let worst = 0;
  for (const [width, height, side] of [[64, 64, 128], [61, 83, 64], [120, 40, 64], [64, 64, 64]]) {
    const { image } = await slice(width, height);
    using _ = new Scope(gpu);
    const input = modelInput(Tensor.from(gpu, image, [height, width]), {
      ...inputGeometry({ width, height }, side),
      ...SAM_INPUT,
    });
    assertEquals(input.shape, [1, side, side, 3]);
    const { data } = toModelInput({ data: image, width, height }, { side, rule: SAM_INPUT });
    worst = Math.max(worst, largest(await input.data(), data));
  }
  console.log(`largest error ${worst.toExponential(1)} of a deviation`);
  assert(worst < 2e-5);
});

Deno.test("numbers that do not fit are refused", () => {
  using _ = new Scope(gpu);
  const image = Tensor.from(gpu, new Float32Array(12), [3, 4]);
  const bias = { order: 2, coefficients: new Float32Array(6) };
  assertThrows(() => augmentImage(image, { ...none, bias }), Error, "6 coefficients do not make");
  const flat = Tensor.from(gpu, new Float32Array(12), [12]);
  assertThrows(() => augmentImage(flat, none), Error, "takes an image [H, W], not [12]");
});
