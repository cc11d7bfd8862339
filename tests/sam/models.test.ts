import { assert, assertEquals } from "@std/assert";
import { adapterLayers } from "../../lib/adapters/adapter_layer.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { emptySam } from "../../lib/sam/build_sam.ts";
import { MODEL_NAMES, MODELS, type SamModel, vit } from "../../lib/sam/models.ts";
import { gpu } from "../gpu.ts";

/** A ViT of another size: all that it takes is a row. */
const tiny = vit(
  "Tiny ViT",
  { embedDim: 32, depth: 4, numHeads: 2, windowSize: 5, globalAttnIndexes: [2], outChans: 64 },
  MODELS.vit_b.checkpoint,
);

const rows: Record<string, SamModel> = {
  tiny,
  mobile_sam: MODELS.mobile_sam,
  lite_medsam: MODELS.lite_medsam,
};

for (const [name, row] of Object.entries(rows)) {
  Deno.test(`the blocks, targets and last stage of ${name}'s row are those of the model`, async () => {
    const sam = emptySam(gpu, row, { side: 128 });
    assertEquals(sam.inputRule, row.input);
    const paths = [...sam.namedModules()].map(([path]) => path);
    for (const stage of row.lastStage) {
      assert(paths.some((path) => `${path}.`.startsWith(`${stage}.`)), stage);
    }
    const { attention, mlp } = row.targets;
    await injectLora(sam, { r: 1, target_modules: [...attention, ...mlp], random: new Random(0) });
    // Queries, keys and values; projection; two layers of the perceptron.
    const layers = [...adapterLayers(sam).keys()];
    assertEquals(layers.length, 4 * row.blocks);
    assert(layers.every((path) => path.startsWith("image_encoder.")), "outside of the encoder");
    sam.dispose();
  });
}

Deno.test("rows of the published models agree with their names and encoders", () => {
  assertEquals(MODEL_NAMES, ["mobile_sam", "vit_b", "vit_l", "vit_h", "medsam", "lite_medsam"]);
  for (const { encoder, blocks, sides, label } of Object.values(MODELS)) {
    if (encoder.kind === "vit") assertEquals(encoder.options.depth, blocks, label);
    for (const side of [sides.native, sides.least, sides.most]) {
      assertEquals(side % sides.multiple, 0, label);
    }
  }
});
