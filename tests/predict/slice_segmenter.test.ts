import { assert, assertEquals } from "@std/assert";
import { planeOf, whole } from "../../lib/data/plane.ts";
import { rescaledWindow } from "../../lib/data/preprocess.ts";
import { predictSlices } from "../../lib/evaluate/predict.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { loadSam } from "../../lib/files/pretrained.ts";
import { SliceSegmenter } from "../../lib/predict/slice_segmenter.ts";
import { SamPredictor } from "../../lib/sam/predictor.ts";
import { tinyCase, tinyShape } from "../experiments/tiny_dataset.ts";
import { gpu } from "../gpu.ts";

const side = 128;
const [width, height, count] = tinyShape;
const { image, mask } = tinyCase(2);
const voxels = Float32Array.from({ length: 3 * width * height }, (_, i) => image[i] ?? 7); // the third is blank
const shape = [width, height, 3] as const;
const plane = planeOf({ shape, spacing: [1, 1, 1] }, 2);
const grid = { axis: 2 as const, plane, window: whole(plane), count: 3 };

Deno.test("masks without a prompt and under boxes are those that a scoring gives, each slice encoded once", async () => {
  const sam = await loadSam(gpu);
  using predictor = new SamPredictor(sam, { side });
  using segmenter = new SliceSegmenter(predictor, { voxels, grid, method: "percentile" });
  using model = new SliceModel(sam, { side });
  for (let index = 0; index < count; index++) {
    const place = { ...grid.window, index };
    const pixels = width * height;
    const slice = {
      image: rescaledWindow(voxels, { plane, window: place, method: "percentile" as const }),
      mask: Uint8Array.from(mask.subarray(index * pixels, (index + 1) * pixels)),
      ref: {
        id: `tiny:2:${index}`,
        caseId: "tiny",
        patient: "tiny",
        axis: 2 as const,
        index,
        width,
        height,
        spacing: [1, 1] as const,
        sliceSpacing: 1,
        orientation: null,
        depth: count,
        tumourVoxels: 1,
      },
    };
    const [{ masks }] = await predictSlices(model, [slice], { prompts: ["whole-image"], seed: 0 });
    const found = await segmenter.segment(index, { box: [0, 0, width, height] });
    assertEquals(found.mask, masks.get("whole-image"));
    assertEquals(found.area, found.mask.reduce((sum, value) => sum + value, 0));
    const point = { points: [{ x: 16, y: 16, label: 1 as const }] };
    const clicked = await segmenter.segment(index, point);
    const again = await segmenter.segment(index, point, clicked.logits);
    assert(again.logits.some((value, i) => value !== clicked.logits[i]), "logits are no prompt");
  }
  assertEquals(segmenter.encoded, count);
  // With nothing kept, a slice that comes again is encoded again.
  using bare = new SliceSegmenter(predictor, { voxels, grid, method: "percentile", keptBytes: 0 });
  for (const index of [0, 0, 1, 0]) await bare.segment(index, { box: [0, 0, width, height] });
  assertEquals(bare.encoded, 3);
  // A slice without contrast is not shown to the model.
  const blank = await segmenter.segment(2, { box: [0, 0, width, height] });
  assertEquals([blank.area, segmenter.encoded], [0, count]);
  sam.dispose();
});
