import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import { toModelInput } from "../../lib/data/preprocess.ts";
import { InputError } from "../../lib/errors.ts";
import { type Prediction, SamPredictor } from "../../lib/sam/predictor.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { testBox, testImage } from "./images.ts";

const sam = await loadSam(gpu);
const width = 200;
const height = 120;
const picture = { data: testImage(width, height), width, height, channels: 3 as const };
const box = testBox(width, height);

/** A predictor with the picture set. */
function withPicture(side = 128): SamPredictor {
  const predictor = new SamPredictor(sam, { side });
  predictor.setImage(picture);
  return predictor;
}

Deno.test("an image set once and prompted many times gives what decoding anew gives", async () => {
  using predictor = withPicture();
  const scale = 128 / width; // the longest side becomes 128, the other 77
  const [inputWidth, inputHeight] = [128, 77];
  const prompts = [
    { box },
    { pointCoords: [[124, 48]] as const, pointLabels: [1] as const },
    { pointCoords: [[124, 48], [20, 100]] as const, pointLabels: [1, 0] as const, box },
  ];
  for (const round of [1, 2]) {
    for (const prompt of prompts) {
      const before = gpu.dispatches;
      const prediction = await predictor.predict({ ...prompt, returnLogits: true });
      const spent = gpu.dispatches - before;
      assert(spent < 150, `round ${round}: ${spent} dispatches are more than a decoder's`);

      using _ = new Scope(gpu);
      const { data } = toModelInput(picture, { side: 128, rule: sam.inputRule });
      const [x, y] = [inputWidth / width, inputHeight / height];
      assert(Math.abs(x - scale) < 1e-9 && Math.abs(y - scale) < 3e-3);
      const expected = noGrad(gpu, () => {
        const embedding = sam.imageEncoder.forward(Tensor.from(gpu, data, [1, 128, 128, 3]));
        const decoded = sam.decode(embedding, [{
          points: prompt.pointCoords?.map(([px, py], i) => ({
            x: px * x,
            y: py * y,
            label: prompt.pointLabels[i],
          })),
          box: prompt.box && [box[0] * x, box[1] * y, box[2] * x, box[3] * y],
        }], { multimaskOutput: true });
        const full = sam.postprocessMasks(decoded.masks, {
          input: [inputHeight, inputWidth],
          original: [height, width],
        });
        return { ...decoded, full };
      });
      assertEquals(prediction.masks.length, 3);
      const masks = await expected.full.data();
      prediction.masks.forEach((mask, i) =>
        assertSameBits(mask, masks.slice(i * width * height, (i + 1) * width * height), "mask")
      );
      assertEquals(prediction.iouPredictions, await expected.iouPredictions.data());
      assertSameBits(prediction.lowResMasks, await expected.masks.data(), "low-resolution masks");
    }
  }
});

for (const [w, h] of [[300, 160], [120, 260]]) {
  Deno.test(`in an image of ${w} x ${h} the mask lies where the object is`, async () => {
    using predictor = new SamPredictor(sam, { side: 256 });
    predictor.setImage({ data: testImage(w, h), width: w, height: h, channels: 3 });
    const { masks, iouPredictions } = await predictor.predict({
      box: testBox(w, h),
      multimaskOutput: false,
    });
    assertEquals([masks.length, iouPredictions.length], [1, 1]);
    let [both, either] = [0, 0];
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const truth = Math.hypot((x / w - 0.62) / 0.17, (y / h - 0.4) / 0.24) < 1;
        const found = masks[0][y * w + x] === 1;
        both += Number(truth && found);
        either += Number(truth || found);
      }
    }
    assert(both / either > 0.85, `IoU ${both / either}`);
  });
}

Deno.test("three masks for an ambiguous prompt, the single one for a clear one", async () => {
  using predictor = withPicture();
  const point = { pointCoords: [[124, 48]] as const, pointLabels: [1] as const };
  const three = await predictor.predict(point);
  const one = await predictor.predict({ ...point, multimaskOutput: false });
  assertEquals([three.masks.length, three.iouPredictions.length], [3, 3]);
  assertEquals([one.masks.length, one.iouPredictions.length], [1, 1]);
  assertEquals([three.lowResMasks.length, one.lowResMasks.length], [3 * 32 * 32, 32 * 32]);
  assert(!three.lowResMasks.slice(0, 1024).every((value, i) => value === one.lowResMasks[i]));
});

Deno.test("masks are the logits above zero, on the image's own grid", async () => {
  using predictor = withPicture();
  const { masks } = await predictor.predict({ box });
  const { masks: logits } = await predictor.predict({ box, returnLogits: true });
  masks.forEach((mask, i) => {
    assertEquals(mask.length, width * height);
    assertSameBits(mask, Uint8Array.from(logits[i], (logit) => Number(logit > 0)), "mask");
  });
  assert(masks[0].includes(1) && masks[0].includes(0));
});

Deno.test("an earlier mask changes the result, given as an array or as a tensor", async () => {
  using predictor = withPicture();
  const prompt = { box, multimaskOutput: false };
  const first = await predictor.predict(prompt);
  const again = await predictor.predict({ ...prompt, maskInput: first.lowResMasks });
  assert(again.lowResMasks.some((value, i) => Math.abs(value - first.lowResMasks[i]) > 0.1));
  using tensor = Tensor.from(gpu, first.lowResMasks, [1, 1, 32, 32]);
  const third = await predictor.predict({ ...prompt, maskInput: tensor });
  assertSameBits(third.lowResMasks, again.lowResMasks, "low-resolution masks");
  assert(!tensor.disposed);
});

Deno.test("grey images are taken as three equal channels, bytes as numbers", async () => {
  using predictor = new SamPredictor(sam, { side: 64 });
  const grey = Uint8Array.from({ length: 48 * 40 }, (_, i) => (i * i) % 251);
  const rgb = Float32Array.from({ length: 3 * grey.length }, (_, i) => grey[Math.floor(i / 3)]);
  const size = { width: 48, height: 40 };
  predictor.setImage({ data: grey, ...size });
  const one = await predictor.getImageEmbedding().data();
  predictor.setImage({ data: rgb, ...size, channels: 3 });
  assertSameBits(await predictor.getImageEmbedding().data(), one, "embedding");
});

Deno.test("the embedding outlives scopes and is freed with the image; predictions leave nothing", async () => {
  await (async () => {
    using predictor = withPicture(64);
    await predictor.predict({ box });
  })(); // so that the position embedding of this grid exists
  const before = gpu.memory.live;
  const predictor = new SamPredictor(sam, { side: 64 });
  assertEquals(predictor.isImageSet, false);
  {
    using _ = new Scope(gpu);
    predictor.setImage(picture);
  }
  assert(predictor.isImageSet);
  assertEquals(gpu.memory.live, before + 1);
  await predictor.predict({ box });
  assertEquals(gpu.memory.live, before + 1);
  const embedding = predictor.getImageEmbedding();
  predictor.setImage(picture);
  assert(embedding.disposed);
  assertEquals(gpu.memory.live, before + 1);
  predictor.resetImage();
  assertEquals(gpu.memory.live, before);
  predictor.setImage(picture);
  predictor[Symbol.dispose]();
  assertEquals(gpu.memory.live, before);
  assertEquals(predictor.isImageSet, false);
});

Deno.test("predictions may overlap", async () => {
  using predictor = withPicture(64);
  const prompts = [{ box }, { pointCoords: [[124, 48]] as const, pointLabels: [1] as const }];
  const apart: Prediction[] = [];
  for (const prompt of prompts) apart.push(await predictor.predict(prompt));
  const together = await Promise.all(prompts.map((prompt) => predictor.predict(prompt)));
  together.forEach(({ masks, lowResMasks }, i) => {
    masks.forEach((mask, j) => assertSameBits(mask, apart[i].masks[j], `mask ${j} of prompt ${i}`));
    assertSameBits(lowResMasks, apart[i].lowResMasks, `low-resolution masks of prompt ${i}`);
  });
});

Deno.test("predicting records no tape, also where weights are trainable", async () => {
  sam.maskDecoder.setTrainable(true);
  using predictor = withPicture(64);
  await predictor.predict({ box });
  const before = gpu.memory.live;
  await predictor.predict({ box });
  assertEquals(gpu.memory.live, before);
  assert(!predictor.getImageEmbedding().requiresGrad);
  sam.maskDecoder.setTrainable(false);
});

Deno.test("what cannot be predicted is refused in words", async () => {
  assertThrows(() => new SamPredictor(sam, { side: 100 }), InputError, "a multiple of 64");
  assertEquals(new SamPredictor(sam).side, 1024);
  using predictor = new SamPredictor(sam, { side: 64 });
  await assertRejects(() => predictor.predict({ box }), Error, "call setImage before predict");
  assertThrows(
    () => predictor.setImage({ data: new Uint8Array(10), width: 4, height: 3 }),
    InputError,
    "10 values are no image of 4 x 3 pixels with 1 channels",
  );
  predictor.setImage(picture);
  const refused: [Parameters<typeof predictor.predict>[0], string][] = [
    [{}, "needs a point or a box"],
    [{ pointCoords: [[1, 2], [3, 4]], pointLabels: [1] }, "2 points came with 1 labels"],
    [{ pointCoords: [[1, 2]] }, "1 points came with 0 labels"],
    [{ pointCoords: [[1, 121]], pointLabels: [1] }, "lies outside the image of 200 x 120"],
    [{ pointCoords: [[NaN, 1]], pointLabels: [1] }, "lies outside"],
    [{ pointCoords: [[1, 2]], pointLabels: [2 as 1] }, "2 is no label"],
    [{ box: [50, 20, 50, 60] }, "is empty"],
    [{ box: [50, 60, 70, 20] }, "is empty"],
    [{ box: [NaN, 0, 1, 1] }, "is empty"],
    [{ box: [200, 0, 240, 60] }, "lies outside"],
    [{ box: [-40, 0, 0, 60] }, "lies outside"],
    [{ box, maskInput: new Float32Array(100) }, "give the 16 x 16 logits of one mask"],
  ];
  for (const [options, message] of refused) {
    await assertRejects(() => predictor.predict(options), InputError, message);
  }
  await predictor.predict({ box: [-5, -5, 500, 500] }); // a box may reach beyond the image
  predictor.resetImage();
  assertThrows(() => predictor.getImageEmbedding(), Error, "no image is set");
});
