import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../lib/errors.ts";
import { Random } from "../../lib/random.ts";
import {
  type Box,
  centrePoint,
  drawKind,
  drawPrompt,
  jitteredBox,
  type Mask,
  randomPoint,
  scalePrompt,
  tightBox,
  wholeImage,
} from "../../lib/data/prompts.ts";

/** A mask drawn in text: `#` is inside. */
function drawn(...rows: string[]): Mask {
  const mask = Uint8Array.from(rows.join(""), (c) => c === "#" ? 1 : 0);
  return { mask, width: rows[0].length, height: rows.length };
}

const blob = drawn(
  ".......",
  ".##....",
  ".####..",
  "..###..",
);

Deno.test("the tight box ends one past the last pixel, at the image's border too", () => {
  assertEquals(tightBox(blob), [1, 1, 5, 4]);
  assertEquals(tightBox(drawn("#..", "...")), [0, 0, 1, 1]);
  assertEquals(tightBox(drawn("...", "..#")), [2, 1, 3, 2]);
  assertEquals(tightBox(drawn("#.#", "...", ".#.")), [0, 0, 3, 3]);
});

Deno.test("each side of a jittered box moves by itself within the fraction", () => {
  const random = new Random(1);
  const box: Box = [100, 200, 140, 300]; // 40 x 100
  const seen = [[Infinity, -Infinity], [Infinity, -Infinity], [Infinity, -Infinity], [
    Infinity,
    -Infinity,
  ]];
  for (let i = 0; i < 2000; i++) {
    jitteredBox(box, random, { width: 512, height: 512 }).forEach((side, s) => {
      seen[s][0] = Math.min(seen[s][0], side - box[s]);
      seen[s][1] = Math.max(seen[s][1], side - box[s]);
    });
  }
  seen.forEach(([low, high], side) => {
    const reach = side % 2 === 0 ? 8 : 20;
    assert(low >= -reach && low < -0.95 * reach, `side ${side}: ${low}`);
    assert(high <= reach && high > 0.95 * reach, `side ${side}: ${high}`);
  });
});

Deno.test("a jittered box stays in the image and keeps a pixel, however hard it is shaken", () => {
  const random = new Random(2);
  for (const box of [[0, 0, 1, 1], [9, 7, 10, 8], [0, 0, 10, 8], [3, 3, 5, 4]] as Box[]) {
    for (const fraction of [0.2, 0.5, 3]) {
      for (let i = 0; i < 300; i++) {
        const [x0, y0, x1, y1] = jitteredBox(box, random, { width: 10, height: 8, fraction });
        assert(x0 >= 0 && y0 >= 0 && x1 <= 10 && y1 <= 8, `${[x0, y0, x1, y1]}`);
        assert(x1 - x0 >= 1 - 1e-9 && y1 - y0 >= 1 - 1e-9, `${[x0, y0, x1, y1]}`);
      }
    }
  }
});

Deno.test("the centre point is the deepest pixel, inside even a ring or a crescent", () => {
  assertEquals(centrePoint(drawn(".....", ".###.", ".###.", ".###.", ".....")), {
    x: 2,
    y: 2,
    label: 1,
  });
  const ring = drawn("#####", "#...#", "#...#", "#...#", "#####");
  const { x, y } = centrePoint(ring);
  assertEquals(ring.mask[y * 5 + x], 1);
  const tadpole = drawn(
    "###.......",
    "###.......",
    "##########",
  );
  assertEquals(centrePoint(tadpole), { x: 1, y: 1, label: 1 });
  // A mask that fills the image is deepest at its middle, since beyond the border is outside.
  assertEquals(centrePoint(drawn("#####", "#####", "#####")), { x: 2, y: 1, label: 1 });
});

Deno.test("random points fall on every pixel of the mask and on no other", () => {
  const random = new Random(3);
  const hits = new Set<number>();
  for (let i = 0; i < 500; i++) {
    const { x, y } = randomPoint(blob, random);
    hits.add(y * blob.width + x);
  }
  assertEquals([...hits].sort((a, b) => a - b), [...blob.mask.keys()].filter((i) => blob.mask[i]));
});

Deno.test("mixed draws the three boxes with equal chance, other choices are themselves", () => {
  const random = new Random(4);
  const counts = new Map<string, number>();
  for (let i = 0; i < 3000; i++) {
    const kind = drawKind("mixed", random);
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  assertEquals([...counts.keys()].sort(), ["jittered-box", "tight-box", "whole-image"]);
  for (const count of counts.values()) assert(Math.abs(count - 1000) < 150, `${count}`);
  assertEquals(drawKind("point", random), "point");
});

Deno.test("each kind gives its prompt, the same for the same seed", () => {
  const draw = (kind: Parameters<typeof drawPrompt>[0], point?: "random") =>
    drawPrompt(kind, { ...blob, random: new Random(5), point });
  assertEquals(draw("tight-box"), { box: [1, 1, 5, 4] });
  assertEquals(draw("whole-image"), { box: wholeImage(blob) });
  assertEquals(draw("whole-image"), { box: [0, 0, 7, 4] });
  assertEquals(draw("point"), { points: [centrePoint(blob)] });
  assertEquals(draw("point", "random"), { points: [randomPoint(blob, new Random(5))] });
  assertEquals(draw("jittered-box"), draw("jittered-box"));
  const still = drawPrompt("jittered-box", { ...blob, random: new Random(5), fraction: 0 });
  assertEquals(still, { box: [1, 1, 5, 4] });
});

Deno.test("prompts scale to input pixels by the two factors", () => {
  const prompt = { box: [1, 2, 3, 4] as Box, points: [{ x: 5, y: 6, label: 0 as const }] };
  assertEquals(scalePrompt(prompt, { scaleX: 2, scaleY: 10 }), {
    box: [2, 20, 6, 40],
    points: [{ x: 10, y: 60, label: 0 }],
  });
  assertEquals(scalePrompt({ box: [0, 0, 1, 1] }, { scaleX: 2, scaleY: 2 }), { box: [0, 0, 2, 2] });
});

Deno.test("an empty mask has no prompt but the whole image", () => {
  const empty = drawn("...", "...");
  for (const kind of ["tight-box", "jittered-box", "point"] as const) {
    assertThrows(
      () => drawPrompt(kind, { ...empty, random: new Random(1) }),
      InputError,
      "mask is empty",
    );
  }
  assertThrows(() => randomPoint(empty, new Random(1)), InputError, "mask is empty");
  assertEquals(drawPrompt("whole-image", { ...empty, random: new Random(1) }).box, [0, 0, 3, 2]);
});
