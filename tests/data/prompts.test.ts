import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../lib/errors.ts";
import { Random } from "../../lib/random.ts";
import {
  type Box,
  centrePoint,
  drawKinds,
  drawPrompt,
  errorClick,
  jitteredBox,
  jitterOf,
  type Mask,
  parsePromptMix,
  PROMPT_KINDS,
  randomErrorClick,
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
    const [kind] = drawKinds("mixed", random, 1);
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  assertEquals([...counts.keys()].sort(), ["jittered-box", "tight-box", "whole-image"]);
  for (const count of counts.values()) assert(Math.abs(count - 1000) < 150, `${count}`);
  assertEquals(drawKinds("point", random, 2), ["point", "point"]);
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
  assertEquals(draw("points-5").points!.length, 5);
  for (const { x, y, label } of draw("points-5").points!) {
    assertEquals([blob.mask[y * blob.width + x], label], [1, 1]);
  }
});

Deno.test("every kind of jitter moves the sides by its own share of the box and no more", () => {
  const square = new Uint8Array(300 * 300);
  for (let y = 100; y < 200; y++) square.fill(1, y * 300 + 100, y * 300 + 200);
  const random = new Random(6);
  for (const kind of PROMPT_KINDS) {
    const fraction = jitterOf(kind);
    assertEquals(fraction !== null, kind.startsWith("jittered"));
    if (fraction === null) continue;
    let farthest = 0;
    for (let i = 0; i < 300; i++) {
      const { box } = drawPrompt(kind, { mask: square, width: 300, height: 300, random });
      box!.forEach((side, s) => {
        farthest = Math.max(farthest, Math.abs(side - [100, 100, 200, 200][s]));
      });
    }
    assert(farthest <= 100 * fraction && farthest > 95 * fraction, `${kind}: ${farthest}`);
  }
});

Deno.test("the centre point is as far from the outside as any pixel, by exhaustive search", () => {
  const random = new Random(7);
  for (let round = 0; round < 40; round++) {
    const [width, height] = [3 + random.int(12), 3 + random.int(12)];
    const mask = Uint8Array.from(
      { length: width * height },
      () => random.uniform() < 0.85 ? 1 : 0,
    );
    const depth = (x: number, y: number) => {
      let nearest = Infinity;
      for (let v = -1; v <= height; v++) {
        for (let u = -1; u <= width; u++) {
          const inImage = u >= 0 && v >= 0 && u < width && v < height;
          if (inImage && mask[v * width + u]) continue;
          nearest = Math.min(nearest, Math.hypot(u - x, v - y));
        }
      }
      return nearest;
    };
    const { x, y } = centrePoint({ mask, width, height });
    const all = [...mask.keys()].filter((i) => mask[i]);
    const best = Math.max(...all.map((i) => depth(i % width, Math.floor(i / width))));
    assertEquals(depth(x, y), best);
  }
});

Deno.test("the next click lies at the centre of the larger error and says which it is", () => {
  const truth = drawn(
    "#####....",
    "#####....",
    "#####....",
    "#####....",
    "#####....",
  );
  const missed = drawn(
    "#........",
    "#......##",
    "#......##",
    "#........",
    "#........",
  );
  // Missed is 4 x 5 pixels, at the image's border; wrong are 2 x 2.
  const click = errorClick(missed.mask, truth)!;
  assertEquals(click.label, 1);
  assertEquals([click.x > 1 && click.x < 4, click.y], [true, 2]);
  const wrong = drawn(
    "####.....",
    "#####.###",
    "#####.###",
    "#####.###",
    "#####....",
  );
  assertEquals(errorClick(wrong.mask, truth), { x: 7, y: 2, label: 0 });
  assertEquals(errorClick(truth.mask, truth), null);
  assertEquals(errorClick(new Uint8Array(45), truth), centrePoint(truth));
});

Deno.test("training clicks fall on every wrong pixel and on no other, and into a perfect mask", () => {
  const prediction = drawn(
    "......#",
    ".##....",
    ".##....",
    "..###..",
  );
  const random = new Random(8);
  const hits = new Set<string>();
  for (let i = 0; i < 200; i++) {
    const { x, y, label } = randomErrorClick(prediction.mask, blob, random);
    hits.add(`${x},${y},${label}`);
  }
  assertEquals([...hits].sort(), ["3,2,1", "4,2,1", "6,0,0"]);
  const { x, y, label } = randomErrorClick(blob.mask, blob, random);
  assertEquals([blob.mask[y * blob.width + x], label], [1, 1]);
});

Deno.test("a mixture draws its kinds with their chances", () => {
  const mix = parsePromptMix("tight-box=0.5, point=0.3,none=0.2");
  assertEquals(mix, { "tight-box": 0.5, "point": 0.3, "whole-image": 0.2 });
  const random = new Random(9);
  const counts = new Map<string, number>();
  for (let i = 0; i < 5000; i++) {
    const [kind] = drawKinds(mix, random, 1);
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  assertEquals(counts.size, 3);
  for (const [kind, chance] of Object.entries(mix)) {
    assert(Math.abs(counts.get(kind)! - 5000 * chance) < 150, `${kind}: ${counts.get(kind)}`);
  }
  assertEquals(parsePromptMix("jittered-box-40=1"), { "jittered-box-40": 1 });
});

Deno.test("kinds drawn together have the mixture's chances and repeat no more than they must", () => {
  const mix = parsePromptMix("tight-box=0.4,jittered-box=0.35,point=0.2,none=0.05");
  const random = new Random(10);
  const draws = 4000;
  for (const count of [2, 3, 5]) {
    const seen = new Map<string, number>();
    for (let i = 0; i < draws; i++) {
      const kinds = drawKinds(mix, random, count);
      assertEquals(kinds.length, count);
      for (const [kind, chance] of Object.entries(mix)) {
        const times = kinds.filter((drawn) => drawn === kind).length;
        assert(Math.abs(times - count * chance) < 1, `${kind} ${times} times of ${count}`);
        seen.set(kind, (seen.get(kind) ?? 0) + times);
      }
    }
    for (const [kind, chance] of Object.entries(mix)) {
      assert(Math.abs(seen.get(kind)! / draws / count - chance) < 0.02, kind);
    }
  }
  const equal = parsePromptMix("tight-box=0.25,jittered-box=0.25,point=0.25,none=0.25");
  for (let i = 0; i < 50; i++) {
    assertEquals(new Set(drawKinds(equal, random, 4)).size, 4);
    assertEquals(new Set(drawKinds("mixed", random, 3)).size, 3);
  }
});

Deno.test("a mixture of unknown kinds, odd chances or another sum is refused", () => {
  const refuse = (text: string, says: string) =>
    assertThrows(() => parsePromptMix(text), InputError, says);
  refuse("tight=1", '"tight": choose tight-box');
  refuse("", '"": choose');
  refuse("point", '"point": give each kind');
  refuse("point=0,none=1", '"point=0"');
  refuse("point=-1,none=2", '"point=-1"');
  refuse("point=x,none=1", '"point=x"');
  refuse("none=0.5,whole-image=0.5", '"whole-image=0.5": give each kind once');
  refuse("point=0.5,none=0.4", "sum to 0.9");
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
