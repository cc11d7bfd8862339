import { assertEquals } from "@std/assert";
import type { Prompt } from "../../lib/data/prompts.ts";
import { segmentObject, type SpreadRule } from "../../lib/predict/segment_object.ts";
import type { SliceMask } from "../../lib/predict/slice_segmenter.ts";

const window = { x: 0, y: 0, width: 32, height: 32 };
const rule: SpreadRule = {
  presence: 0.2,
  margin: 0.25,
  point: true,
  logits: true,
  overlap: 0.2,
  fill: 0.92,
  agreement: 0,
};

/** A model of a scan whose slices show discs: it finds the disc at its prompt, whatever the prompt. */
function fakeModel(
  discs: readonly ([x: number, y: number, r: number, presence?: number] | null)[],
) {
  const calls: { index: number; prompt: Prompt; mask?: Float32Array }[] = [];
  const segment = (index: number, prompt: Prompt, mask?: Float32Array): Promise<SliceMask> => {
    calls.push({ index, prompt, mask });
    const [cx, cy, r, presence = 5] = discs[index] ?? [0, 0, -1];
    const pixels = Uint8Array.from(
      { length: 1024 },
      (_, i) => Number(Math.hypot(i % 32 - cx, Math.floor(i / 32) - cy) <= r),
    );
    const area = pixels.reduce((sum, value) => sum + value, 0);
    const logits = Float32Array.of(index);
    const scores = { meanLogit: area > 0 ? presence : 0, maxLogit: 0, stability: 0, iou: 0 };
    return Promise.resolve({ mask: pixels, area, scores, logits });
  };
  return { calls, segment };
}

const click = (
  index: number,
): [number, Prompt] => [index, { points: [{ x: 16, y: 16, label: 1 }] }];
const indices = (found: Map<number, unknown>) => [...found.keys()].sort((a, b) => a - b);

Deno.test("an object spreads both ways by box, point and logits until its mask is empty", async () => {
  const model = fakeModel([null, [16, 16, 3], [16, 16, 5], [15, 16, 4], [14, 16, 2], null, [
    16,
    16,
    4,
  ]]);
  const object = { name: "", slices: new Map([click(2)]), spread: [0, 6] as const };
  const found = await segmentObject(model, object, { rule, window });
  assertEquals(indices(found), [1, 2, 3, 4]);
  assertEquals(model.calls.map(({ index }) => index), [2, 3, 4, 5, 1, 0]);
  const [, next] = model.calls;
  // The disc of radius 5 about 16 is 11..21, its box 11..22 and a quarter of 11 wider each way.
  assertEquals(next.prompt, {
    box: [8.25, 8.25, 24.75, 24.75],
    points: [{ x: 16, y: 16, label: 1 }],
  });
  assertEquals(next.mask, Float32Array.of(2));
  assertEquals(model.calls[2].mask, Float32Array.of(3));
});

Deno.test("presence and overlap end an object", async () => {
  const discs = [[16, 16, 4], [16, 16, 4], [16, 16, 4], [16, 16, 4, 0.5], [16, 16, 4]] as const;
  const object = { name: "", slices: new Map([click(1)]), spread: [0, 4] as const };
  const fading = await segmentObject(fakeModel(discs.map((disc) => [...disc])), object, {
    rule,
    window,
  });
  assertEquals(indices(fading), [0, 1, 2]);
  const moving = fakeModel([[16, 16, 4], [16, 16, 4], [26, 16, 4], [26, 16, 4], null]);
  assertEquals(indices(await segmentObject(moving, object, { rule, window })), [0, 1]);
});

Deno.test("slices between two clicks belong to the nearer, and limits hold", async () => {
  const model = fakeModel(Array.from({ length: 10 }, () => [16, 16, 4]));
  const object = { name: "", slices: new Map([click(2), click(7)]), spread: [1, 8] as const };
  const found = await segmentObject(model, object, { rule: { ...rule, logits: false }, window });
  assertEquals(indices(found), [1, 2, 3, 4, 5, 6, 7, 8]);
  assertEquals(model.calls.map(({ index }) => index), [2, 7, 3, 4, 1, 8, 6, 5]);
  assertEquals(model.calls.every(({ mask }) => mask === undefined), true);
});

Deno.test("clicks beside the object hold in their slices; an object that does not spread stays", async () => {
  const model = fakeModel([[16, 16, 4], [16, 16, 4], [16, 16, 4]]);
  const beside = new Map([[2, [{ x: 3, y: 4, label: 0 as const }]]]);
  const slices = new Map([click(1)]);
  await segmentObject(model, { name: "", slices, beside, spread: [0, 2] }, { rule, window });
  const points = (index: number) => model.calls.find((call) => call.index === index)!.prompt.points;
  assertEquals(points(2)!.at(-1), { x: 3, y: 4, label: 0 });
  assertEquals(points(0)!.length, 1);
  const still = fakeModel([[16, 16, 4], [16, 16, 4], [16, 16, 4]]);
  const found = await segmentObject(still, { name: "", slices, spread: null }, { rule, window });
  assertEquals(indices(found), [1]);
});

Deno.test("a mask loses the parts that are not its neighbour's, and a mask that fills its box is none", async () => {
  const disc = fakeModel([[16, 16, 4], [16, 16, 4], [16, 16, 4]]);
  const square = (x0: number, y0: number, side: number) => (_: number, i: number) => {
    const [x, y] = [i % 32 - x0, Math.floor(i / 32) - y0];
    return Number(x >= 0 && x < side && y >= 0 && y < side);
  };
  const model = (change: (mask: Uint8Array, index: number) => Uint8Array) => ({
    segment: async (index: number, prompt: Prompt) => {
      const found = await disc.segment(index, prompt);
      const mask = change(found.mask, index);
      return { ...found, mask, area: mask.reduce((sum, pixel) => sum + pixel, 0) };
    },
  });
  const object = { name: "", slices: new Map([click(0)]), spread: [0, 2] as const };
  const far = Uint8Array.from({ length: 1024 }, square(26, 26, 4));
  const twice = model((mask, index) => index === 1 ? mask.map((on, i) => on | far[i]) : mask);
  const found = await segmentObject(twice, object, { rule, window });
  assertEquals(found.get(1)!.mask, found.get(0)!.mask);
  assertEquals(found.get(1)!.area, found.get(0)!.area);
  const echo = model((mask, i) => i === 1 ? Uint8Array.from(mask, square(12, 12, 9)) : mask);
  assertEquals(indices(await segmentObject(echo, object, { rule, window })), [0]);
});

Deno.test("an object ends where a click alone finds another one", async () => {
  const disc = fakeModel(Array.from({ length: 5 }, () => [16, 16, 4]));
  // From slice 3 on box and logits bring about what is not there: a click finds a disc four times as large.
  const large = fakeModel(Array.from({ length: 5 }, () => [16, 16, 8]));
  const segment = (index: number, prompt: Prompt) =>
    (index >= 3 && !prompt.box ? large : disc).segment(index, prompt);
  const object = { name: "", slices: new Map([click(1)]), spread: [0, 4] as const };
  const found = await segmentObject({ segment }, object, {
    rule: { ...rule, agreement: 0.5 },
    window,
  });
  assertEquals(indices(found), [0, 1, 2]);
  assertEquals(large.calls[0].prompt, { points: [{ x: 16, y: 16, label: 1 }] });
  assertEquals(indices(await segmentObject({ segment }, object, { rule, window })), [
    0,
    1,
    2,
    3,
    4,
  ]);
});
