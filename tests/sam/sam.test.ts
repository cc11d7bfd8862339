import { assert, assertEquals, assertThrows } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { largestDifference, testImage } from "./images.ts";
import { mobileSamState } from "./pretrained.ts";

const sam = await loadSam(gpu);
const weights = new Map(sam.namedParameters());

function embed(side: number, batch = 1): Tensor {
  const pixels = testImage(side, side).map((value) => (value - 115) / 58);
  const data = new Float32Array(batch * pixels.length);
  for (let i = 0; i < batch; i++) {
    data.set(pixels.map((value) => value * (1 - 0.3 * i)), i * pixels.length);
  }
  return noGrad(
    gpu,
    () => sam.imageEncoder.forward(Tensor.from(gpu, data, [batch, side, side, 3])),
  );
}

Deno.test("sides that are multiples of 64 give grids of a sixteenth", () => {
  for (const side of [64, 256, 448, 512]) {
    using _ = new Scope(gpu);
    const embedding = embed(side);
    assertEquals([...embedding.shape], [1, side / 16, side / 16, 256]);
    const { masks, iouPredictions } = noGrad(
      gpu,
      () => sam.decode(embedding, [{ box: [1, 2, 30, 40] }]),
    );
    assertEquals([...masks.shape], [1, 1, side / 4, side / 4]);
    assertEquals([...iouPredictions.shape], [1, 1]);
  }
});

Deno.test("clicks without a box are padded by a token that is no point", async () => {
  using _ = new Scope(gpu);
  const encode = (prompt: Parameters<typeof sam.promptEncoder.forward>[0][number]) =>
    sam.promptEncoder.forward([prompt], { imageSize: 256 }).sparse;
  const row = async (tensor: Tensor, i: number) =>
    (await tensor.data()).slice(256 * i, 256 * (i + 1));
  const click = { x: 31.5, y: 200, label: 1 } as const;
  const clicks = encode({ points: [click, { ...click, label: 0 }] });
  assertEquals([...clicks.shape], [1, 3, 256]);
  const padding = await weights.get("prompt_encoder.not_a_point_embed.weight")!.data();
  assertEquals(await row(clicks, 2), padding);

  const box = [10, 20, 110, 220] as const;
  const both = encode({ points: [click], box });
  assertEquals([...both.shape], [1, 3, 256]);
  assertEquals(await row(both, 0), await row(clicks, 0));
  const alone = encode({ box });
  assertEquals([...alone.shape], [1, 2, 256]);
  assertEquals([await row(both, 1), await row(both, 2)], [
    await row(alone, 0),
    await row(alone, 1),
  ]);

  // The same position under different labels differs by the embeddings of the labels.
  const [background, foreground] = await Promise.all(
    [0, 1].map((i) => weights.get(`prompt_encoder.point_embeddings.${i}.weight`)!.data()),
  );
  const difference = (await row(clicks, 0)).map((value, i) => value - foreground[i]);
  const other = (await row(clicks, 1)).map((value, i) => value - background[i]);
  assert(largestDifference(difference, other) < 1e-6);
});

Deno.test("positions are embedded as sines and cosines of pixel centres", async () => {
  using _ = new Scope(gpu);
  const gaussian = await weights
    .get("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix")!.data();
  const foreground = await weights.get("prompt_encoder.point_embeddings.1.weight")!.data();
  const { sparse } = sam.promptEncoder.forward([{ points: [{ x: 40, y: 7, label: 1 }] }], {
    imageSize: 128,
  });
  const token = await sparse.data();
  const [x, y] = [2 * 40.5 / 128 - 1, 2 * 7.5 / 128 - 1];
  for (let i = 0; i < 128; i++) {
    const angle = 2 * Math.PI * (x * gaussian[i] + y * gaussian[128 + i]);
    assert(Math.abs(token[i] - foreground[i] - Math.sin(angle)) < 1e-5);
    assert(Math.abs(token[128 + i] - foreground[128 + i] - Math.cos(angle)) < 1e-5);
  }
  // Cell (1, 2) of a grid of 8 has the embedding of the pixel position of its centre.
  const pe = await sam.promptEncoder.getDensePe(8).data();
  const centre = sam.promptEncoder.forward([{
    points: [{ x: 2.5 * 16 - 0.5, y: 1.5 * 16 - 0.5, label: 1 }],
  }], { imageSize: 128 }).sparse;
  const expected = (await centre.data()).slice(0, 256).map((value, i) => value - foreground[i]);
  assert(largestDifference(pe.slice((1 * 8 + 2) * 256, (1 * 8 + 3) * 256), expected) < 1e-5);
});

Deno.test("prompts of a batch must be of one kind, and not empty", () => {
  using _ = new Scope(gpu);
  const encode = (...prompts: Parameters<typeof sam.promptEncoder.forward>[0]) => () =>
    sam.promptEncoder.forward(prompts, { imageSize: 64 });
  const point = { x: 1, y: 2, label: 1 } as const;
  assertThrows(encode({}), Error, "a prompt needs a box or points");
  assertThrows(encode({ points: [] }), Error, "a prompt needs a box or points");
  assertThrows(
    encode({ box: [0, 0, 9, 9] }, { points: [point, point] }),
    Error,
    "the same number of points and boxes",
  );
});

Deno.test("a batch of images and several prompts on one image give what single ones give", async () => {
  using _ = new Scope(gpu);
  const pair = embed(128, 2);
  const boxes = [[20, 10, 80, 90], [50, 60, 120, 100]] as const;
  const prompts = boxes.map((box) => ({ box }));
  const read = (embedding: Tensor, which: typeof prompts) =>
    noGrad(gpu, () => sam.decode(embedding, which, { multimaskOutput: true })).masks.data();
  const data = await pair.data();
  const singles = [0, 1].map((i) =>
    Tensor.from(gpu, data.slice(i * data.length / 2, (i + 1) * data.length / 2), [1, 8, 8, 256])
  );
  const half = 3 * 32 * 32;
  const batch = await read(pair, prompts);
  const shared = await read(singles[0], prompts);
  for (const i of [0, 1]) {
    const alone = await read(singles[i], [prompts[i]]);
    assert(largestDifference(batch.subarray(i * half, (i + 1) * half), alone) < 1e-4);
    const first = await read(singles[0], [prompts[i]]);
    assert(largestDifference(shared.subarray(i * half, (i + 1) * half), first) < 1e-4);
  }
});

Deno.test("logits come back to the image's grid without the padding", async () => {
  using _ = new Scope(gpu);
  // Logits that are the position, in pixels of the padded input of side 64: resizing keeps a plane
  // a plane, but for the borders, where pixels repeat.
  const side = 16;
  const planes = new Float32Array(2 * side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      planes[y * side + x] = 4 * (x + 0.5);
      planes[side * side + y * side + x] = 4 * (y + 0.5);
    }
  }
  const masks = Tensor.from(gpu, planes, [1, 2, side, side]);
  const cases = [
    { input: [64, 64], original: [64, 64] },
    { input: [40, 64], original: [50, 80] },
    { input: [64, 31], original: [200, 97] },
    { input: [64, 48], original: [21, 16] },
  ] as const;
  for (const { input, original } of cases) {
    const logits = sam.postprocessMasks(masks, { input, original });
    const [height, width] = original;
    assertEquals([...logits.shape], [1, 2, height, width]);
    const data = await logits.data();
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [px, py] = [(x + 0.5) * input[1] / width, (y + 0.5) * input[0] / height];
        // Within half a pixel of the crop's border, or 2.5 of the padded input's, pixels repeat.
        const inside = (p: number, size: number) => p >= 2.5 && p <= Math.min(size - 0.5, 61.5);
        const at = y * width + x;
        if (inside(px, input[1])) {
          assert(Math.abs(data[at] - px) < 1e-3, `x ${data[at]}, not ${px}`);
        }
        if (inside(py, input[0])) {
          const value = data[width * height + at];
          assert(Math.abs(value - py) < 1e-3, `y ${value}, not ${py}`);
        }
      }
    }
  }
});

Deno.test("other weights make another position embedding", async () => {
  const own = await loadSam(gpu);
  const before = await own.promptEncoder.getDensePe(4).data();
  const name = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix";
  const state = await mobileSamState();
  const { shape, data } = state.get(name)!;
  state.set(name, { shape, data: data.toReversed() });
  own.loadState(state);
  assert(largestDifference(await own.promptEncoder.getDensePe(4).data(), before) > 0.1);
  own.dispose();
});

Deno.test("a disposed model leaves nothing on the device", async () => {
  const before = gpu.memory.live;
  const own = await loadSam(gpu);
  {
    using _ = new Scope(gpu);
    const input = Tensor.from(gpu, new Float32Array(64 * 64 * 3), [1, 64, 64, 3]);
    noGrad(gpu, () => own.decode(own.imageEncoder.forward(input), [{ box: [1, 2, 30, 40] }]));
  }
  assert(gpu.memory.live > before);
  own.dispose();
  assertEquals(gpu.memory.live, before);
});
