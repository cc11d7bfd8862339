import { assertAlmostEquals, assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  backgroundOf,
  centreCrop,
  inputGeometry,
  rescale,
  RESCALE_METHODS,
  resizeBilinear,
  toModelInput,
} from "../../lib/data/preprocess.ts";
import { SAM_INPUT } from "../../lib/sam/models.ts";

interface Resized {
  from: [number, number];
  to: [number, number];
  channels: 1 | 3;
  image: number[];
  resized: number[];
}
const resized: Resized[] = JSON.parse(
  Deno.readTextFileSync(join(import.meta.dirname!, "fixtures/resize.json")),
);

for (const { from, to, channels, image, resized: expected } of resized) {
  Deno.test(`${from.join("x")}x${channels} resizes to ${to.join("x")} as in PyTorch and Pillow`, () => {
    const actual = resizeBilinear(
      { data: Float32Array.from(image), width: from[1], height: from[0], channels },
      { width: to[1], height: to[0] },
    );
    assertEquals(actual.length, expected.length);
    expected.forEach((value, i) => assertAlmostEquals(actual[i], value, 2e-3, `at ${i}`));
  });
}

/** A head on empty ground: a 6 x 6 square of foreground in a 10 x 10 slice. */
function head(background: number, value: (i: number) => number): Float32Array {
  let i = 0;
  return Float32Array.from({ length: 100 }, (_, p) => {
    const [x, y] = [p % 10, Math.floor(p / 10)];
    return x > 1 && x < 8 && y > 1 && y < 8 ? value(i++) : background;
  });
}

for (const background of [0, -4.755]) {
  Deno.test(`background ${background} becomes 0 and does not set the limits`, () => {
    const ground = Math.fround(background);
    const pixels = head(ground, (i) => -1 + i / 10); // -1 .. 2.5, so 0 is tissue when z-scored
    assertEquals(backgroundOf(pixels, 10), ground);
    const scaled = rescale(pixels, { width: 10, method: "minmax" });
    assertEquals(scaled[0], 0);
    assertAlmostEquals(scaled[22], 0, 1e-4);
    assertAlmostEquals(scaled[77], 255, 1e-4);
    assertAlmostEquals(scaled[23], 255 / 35, 1e-3);
  });
}

Deno.test("a slice that fills its frame has no background", () => {
  const pixels = Float32Array.from({ length: 100 }, (_, i) => i);
  assertEquals(backgroundOf(pixels, 10), undefined);
  // Four equal corners alone are chance.
  for (const corner of [0, 9, 90, 99]) pixels[corner] = 50;
  assertEquals(backgroundOf(pixels, 10), undefined);
});

Deno.test("percentile clips both tails, as numpy's percentiles say", () => {
  const pixels = Float32Array.from({ length: 101 }, (_, i) => i);
  const scaled = rescale(pixels, { width: 101, percentiles: [10, 90] });
  assertEquals(scaled[5], 0);
  assertEquals(scaled[10], 0);
  assertAlmostEquals(scaled[50], 127.5, 1e-4);
  assertEquals(scaled[90], 255);
  assertEquals(scaled[100], 255);
  // numpy.percentile(range(101), [0.5, 99.5]) is 0.5, 99.5
  assertAlmostEquals(rescale(pixels, { width: 101 })[1], (0.5 / 99) * 255, 1e-4);
});

Deno.test("zscore puts the mean at mid-grey and clips beyond the deviations", () => {
  const pixels = Float32Array.of(-1, 1, -1, 1); // mean 0, deviation 1
  const scaled = rescale(pixels, { width: 4, method: "zscore", deviations: 2 });
  assertEquals([...scaled], [63.75, 191.25, 63.75, 191.25]);
  const outlier = Float32Array.from({ length: 1000 }, (_, i) => i === 500 ? 1e6 : i % 7);
  assertEquals(rescale(outlier, { width: 1000, method: "zscore" })[500], 255);
});

for (const method of RESCALE_METHODS) {
  Deno.test(`${method} of a constant slice is all 0, not NaN`, () => {
    for (const value of [0, 7, -4.755]) {
      const scaled = rescale(new Float32Array(64).fill(value), { width: 8, method });
      assertEquals(scaled, new Float32Array(64));
    }
  });
}

Deno.test("the centre crop is centred, and never larger than the slice", () => {
  const size = { width: 11, height: 6 };
  assertEquals(centreCrop(size, 4), { x: 3, y: 1, width: 4, height: 4 });
  assertEquals(centreCrop(size, 8), { x: 1, y: 0, width: 8, height: 6 });
  assertEquals(centreCrop(size, 99), { x: 0, y: 0, width: 11, height: 6 });
});

Deno.test("the input geometry follows ResizeLongestSide's rounding", () => {
  assertEquals(inputGeometry({ width: 240, height: 155 }, 1024), {
    side: 1024,
    width: 1024,
    height: 661, // int(155 * 1024 / 240 + 0.5)
    scaleX: 1024 / 240,
    scaleY: 661 / 155,
  });
  assertEquals(inputGeometry({ width: 1, height: 1000 }, 256).width, 1);
});

Deno.test("the model's input is resized, normalised and only then padded with zeros", () => {
  const grey = Float32Array.from({ length: 12 }, (_, i) => i * 20); // 4 wide, 3 high
  const input = toModelInput({ data: grey, width: 4, height: 3 }, { side: 4, rule: SAM_INPUT });
  assertEquals([input.width, input.height, input.data.length], [4, 3, 48]);
  for (let i = 0; i < 12; i++) {
    for (let c = 0; c < 3; c++) {
      assertAlmostEquals(
        input.data[3 * i + c],
        (grey[i] - SAM_INPUT.mean[c]) / SAM_INPUT.std[c],
        1e-5,
      );
    }
  }
  assertEquals(input.data.subarray(36), new Float32Array(12));
});

Deno.test("a colour image keeps its channels apart", () => {
  const rgb = Uint8Array.of(10, 20, 30, 40, 50, 60);
  const input = toModelInput({ data: rgb, width: 1, height: 2, channels: 3 }, {
    side: 2,
    rule: SAM_INPUT,
  });
  assertEquals([input.width, input.height], [1, 2]);
  for (let c = 0; c < 3; c++) {
    assertAlmostEquals(input.data[c], (rgb[c] - SAM_INPUT.mean[c]) / SAM_INPUT.std[c], 1e-5);
    assertAlmostEquals(
      input.data[6 + c],
      (rgb[3 + c] - SAM_INPUT.mean[c]) / SAM_INPUT.std[c],
      1e-5,
    );
  }
});
