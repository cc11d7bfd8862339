import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { join } from "node:path";
import { openDataset } from "../../lib/data/dataset.ts";
import { resizeBilinear } from "../../lib/data/preprocess.ts";
import type { SliceRef } from "../../lib/data/slices.ts";
import { openSlices } from "../../lib/data/slices.ts";
import { pictureOf, THUMBNAIL_BYTES, Thumbnails } from "../../lib/data/thumbnails.ts";
import { Random } from "../../lib/random.ts";

type Picture = ReturnType<typeof pictureOf>;

const ref = (caseId: string) => ({ caseId, width: 12, height: 12 }) as SliceRef;

/** A reader of pictures of 12 x 12, which are their own cells. */
function readerOf(images: Readonly<Record<string, Float32Array>>) {
  return {
    read: (ref: SliceRef) =>
      Promise.resolve({ ref, image: images[ref.caseId], mask: new Uint8Array(144) }),
  };
}

const noise = (seed: number) => {
  const random = new Random(seed);
  return Float32Array.from({ length: 144 }, () => 100 + 20 * random.normal());
};

const change = (
  { image, width, height }: Picture,
  to: { width?: number; height?: number },
  from: (x: number, y: number) => [x: number, y: number],
): Picture => {
  const size = { width, height, ...to };
  const pixels = Float32Array.from({ length: size.width * size.height }, (_, at) => {
    const [x, y] = from(at % size.width, Math.floor(at / size.width));
    return image[y * width + x];
  });
  return { image: pixels, ...size };
};

Deno.test("likeness is the correlation of what stands out from its surroundings", async () => {
  const [a, b] = [noise(1), noise(2)];
  const seen = await Thumbnails.of(readerOf({ a }), [ref("a")]);
  assertEquals(seen.bytes.length, THUMBNAIL_BYTES);
  // In float64 and by other loops: each pixel less the mean of its neighbours, Pearson's r of the two.
  const stand = (image: Float32Array, way: number) =>
    Array.from({ length: 144 }, (_, at) => {
      let [x, y] = [at % 12, Math.floor(at / 12)];
      if (way & 1) x = 11 - x;
      if (way & 2) y = 11 - y;
      if (way & 4) [x, y] = [y, x];
      const near = Array.from({ length: 144 }, (_, i) => i).filter((i) =>
        Math.abs(i % 12 - x) <= 1 && Math.abs(Math.floor(i / 12) - y) <= 1
      );
      return image[12 * y + x] - near.reduce((sum, i) => sum + image[i], 0) / near.length;
    });
  const pearson = (p: number[], q: number[]) => {
    const mean = (v: number[]) => v.reduce((s, x) => s + x, 0) / v.length;
    const [mp, mq] = [mean(p), mean(q)];
    const dot = (u: number[], mu: number, w: number[], mw: number) =>
      u.reduce((s, x, i) => s + (x - mu) * (w[i] - mw), 0);
    return dot(p, mp, q, mq) / Math.sqrt(dot(p, mp, p, mp) * dot(q, mq, q, mq));
  };
  const expected = Math.max(
    ...[0, 1, 2, 3, 4, 5, 6, 7].map((way) => pearson(stand(a, 0), stand(b, way))),
  );
  assertAlmostEquals(seen.nearest({ image: b, width: 12, height: 12 }), expected, 0.005);
  assert(expected < 0.5);
});

Deno.test("a slice is known by other names, mirrored, turned, resized and brighter; others are not", async () => {
  const dataset = await openDataset(
    join(import.meta.dirname!, "..", "..", "experiments", "sample"),
  );
  const cache = await Deno.makeTempDir();
  try {
    const cases = dataset.cases.filter((_, i) => i % 4 === 0);
    const slices = await openSlices({ ...dataset, cases }, { cache });
    const patients = [...new Set(slices.refs.map(({ patient }) => patient))];
    const own = new Set(patients.slice(0, patients.length / 2));
    const train = slices.refs.filter(({ patient }) => own.has(patient));
    const seen = new Thumbnails((await Thumbnails.of(slices, train)).bytes.slice());
    for (const ref of train.filter((_, i) => i % 4 === 0)) {
      const picture = pictureOf(await slices.read(ref));
      const { width, height } = picture;
      const [right, bottom] = [width - 1, height - 1];
      const copies = {
        same: picture,
        mirrored: change(picture, {}, (x, y) => [right - x, y]),
        upsideDown: change(picture, {}, (x, y) => [x, bottom - y]),
        turned: change(picture, { width: height, height: width }, (x, y) => [y, bottom - x]),
        resized: {
          width: 224,
          height: 224,
          image: resizeBilinear({ data: picture.image, width, height }, {
            width: 224,
            height: 224,
          }),
        },
        brighter: { ...picture, image: picture.image.map((value) => 255 * (value / 255) ** 0.7) },
      };
      for (const [name, copy] of Object.entries(copies)) {
        assert(seen.has(copy), `${ref.id} ${name}: ${seen.nearest(copy)}`);
      }
    }
    for (const ref of slices.refs.filter(({ patient }) => !own.has(patient))) {
      const picture = pictureOf(await slices.read(ref));
      assert(!seen.has(picture), `${ref.id}: ${seen.nearest(picture)}`);
    }
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});

Deno.test("neighbours that are all but the same take one thumbnail, and all of them are found", async () => {
  const [a, far] = [noise(1), noise(2)];
  const near = a.map((value, i) => value + (i === 40 ? 3 : 0));
  const flat = new Float32Array(144).fill(7);
  const images = [a, near, flat, far];
  const next = images.values();
  const reader = {
    read: (ref: SliceRef) =>
      Promise.resolve({ ref, image: next.next().value!, mask: new Uint8Array(144) }),
  };
  const seen = await Thumbnails.of(reader, images.map(() => ref("a")));
  assertEquals(seen.bytes.length, 2 * THUMBNAIL_BYTES);
  const found = images.map((image) => seen.has({ image, width: 12, height: 12 }));
  assertEquals(found, [true, true, false, true]); // an even picture looks like nothing
});
