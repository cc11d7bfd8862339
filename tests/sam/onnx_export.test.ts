import { assert, assertEquals } from "@std/assert";
import * as ort from "onnxruntime-web/wasm";
import { injectLora } from "../../lib/adapters/lora.ts";
import { mergedWeights } from "../../lib/adapters/apply_adapter.ts";
import { loadSam } from "../../lib/files/pretrained.ts";
import { readWeights } from "../../lib/nn/weight_source.ts";
import { Random } from "../../lib/random.ts";
import { buildSam, emptySam } from "../../lib/sam/build_sam.ts";
import { hostWeights } from "../../lib/nn/weight_source.ts";
import { MODELS, type SamModel, strideOf, vit } from "../../lib/sam/models.ts";
import { decoderGraph } from "../../lib/sam/onnx_decoder.ts";
import { encoderGraph, ONNX_FRAME } from "../../lib/sam/onnx_encoder.ts";
import { SamPredictor } from "../../lib/sam/predictor.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { gpu } from "../gpu.ts";
import { largestDifference, testBox, testImage } from "./images.ts";
import { seededWeight } from "./seeded.ts";

ort.env.wasm.numThreads = 1;

/** A model's two graphs in ONNX Runtime's WebAssembly build. */
async function sessions(sam: Sam, options: { model: SamModel; side: number }) {
  const tensors = mergedWeights(sam);
  const state = await readWeights({ source: "", tensors, [Symbol.dispose]() {} });
  const grid = options.side / strideOf(options.model.encoder);
  const producer = { name: "test", version: "0" };
  const open = (graph: { encode(of: typeof producer): Uint8Array }) =>
    ort.InferenceSession.create(graph.encode(producer), { executionProviders: ["wasm"] });
  return {
    encoder: await open(encoderGraph(state, options)),
    decoder: await open(decoderGraph(state, { side: options.side, grid })),
  };
}

/** Size of the picture, whose longest side is that of annotation tools. */
const frame = { width: ONNX_FRAME, height: ONNX_FRAME * 3 / 4 };

/**
 * Compares our predictor with the graphs on one picture, under a box and under a click with a mask.
 *
 * @returns the largest differences of low-resolution logits and of logits, and the share of equal pixels.
 */
async function compare(sam: Sam, options: { model: SamModel; side: number }) {
  const { encoder, decoder } = await sessions(sam, options);
  using predictor = new SamPredictor(sam, { side: options.side });
  const data = testImage(frame.width, frame.height);
  predictor.setImage({ data, ...frame, channels: 3 });
  const { image_embeddings: embeddings } = await encoder.run({
    input_image: new ort.Tensor("float32", data, [frame.height, frame.width, 3]),
  });
  const [x0, y0, x1, y1] = testBox(frame.width, frame.height);
  const run = (coords: number[], labels: number[]) =>
    decoder.run({
      image_embeddings: embeddings,
      point_coords: new ort.Tensor("float32", coords, [1, labels.length, 2]),
      point_labels: new ort.Tensor("float32", labels, [1, labels.length]),
      mask_input: new ort.Tensor("float32", new Float32Array(256 * 256), [1, 1, 256, 256]),
      has_mask_input: new ort.Tensor("float32", [0], [1]),
      orig_im_size: new ort.Tensor("float32", [frame.height, frame.width], [2]),
    });
  const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
  const cases = [
    [{ box: [x0, y0, x1, y1] as const }, [x0, y0, x1, y1], [2, 3]],
    [{ pointCoords: [[cx, cy] as const], pointLabels: [1 as const] }, [cx, cy, 0, 0], [1, -1]],
  ] as const;
  let worst = { lowRes: 0, logits: 0, iou: 0, equal: 1 };
  for (const [prompt, coords, labels] of cases) {
    const ours = await predictor.predict({ ...prompt, multimaskOutput: false, returnLogits: true });
    const theirs = await run([...coords], [...labels]);
    const logits = theirs.masks.data as Float32Array;
    assertEquals(theirs.masks.dims, [1, 1, frame.height, frame.width]);
    const equal = ours.masks[0].filter((value, i) => value > 0 === logits[i] > 0).length;
    worst = {
      lowRes: Math.max(
        worst.lowRes,
        largestDifference(ours.lowResMasks, theirs.low_res_masks.data as Float32Array),
      ),
      logits: Math.max(worst.logits, largestDifference(ours.masks[0], logits)),
      iou: Math.max(
        worst.iou,
        largestDifference(ours.iouPredictions, theirs.iou_predictions.data as Float32Array),
      ),
      equal: Math.min(worst.equal, equal / logits.length),
    };
  }
  await encoder.release();
  await decoder.release();
  return worst;
}

Deno.test("MobileSAM with an adapter folded in gives the same logits in ONNX Runtime", async () => {
  const sam = await loadSam(gpu);
  const random = new Random("onnx");
  const options = { r: 4, target_modules: ["attn.qkv", "attn.proj", "q_proj", "lin1"] };
  for (const { lora_B: { weight } } of (await injectLora(sam, { ...options, random })).values()) {
    weight.write(Float32Array.from({ length: weight.size }, () => 0.02 * random.normal()));
  }
  const worst = await compare(sam, { model: MODELS.mobile_sam, side: 256 });
  console.log(JSON.stringify(worst));
  assert(worst.lowRes < 1e-3 && worst.logits < 1e-3 && worst.iou < 1e-4, JSON.stringify(worst));
  assert(worst.equal >= 0.999);
  sam.dispose();
});

const row = vit(
  "Small ViT",
  { embedDim: 32, depth: 3, numHeads: 2, windowSize: 5, globalAttnIndexes: [1] },
  null,
);
const tiny: Record<string, SamModel> = {
  "a ViT": row,
  "a TinyViT whose patches are pixels": MODELS.lite_medsam,
};
for (const [name, model] of Object.entries(tiny)) {
  Deno.test(`${name} gives the same logits in ONNX Runtime`, async () => {
    const side = 128;
    const empty = emptySam(gpu, model, { side });
    const state = new Map(
      [...empty.namedParameters()].map(([name, { shape }]) => [name, seededWeight(name, shape)]),
    );
    empty.dispose();
    const sam = await buildSam(gpu, model, { weights: hostWeights(state, "seeded"), side });
    const worst = await compare(sam, { model, side });
    console.log(JSON.stringify(worst));
    assert(worst.lowRes < 1e-3 && worst.logits < 1e-3, JSON.stringify(worst));
    assert(worst.equal >= 0.999);
    sam.dispose();
  });
}
