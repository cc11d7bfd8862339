import { assert, assertEquals, assertRejects } from "@std/assert";
import { adapterLayers } from "../../lib/adapters/adapter_layer.ts";
import { toModelInput } from "../../lib/data/preprocess.ts";
import { InputError } from "../../lib/errors.ts";
import { weightsFile } from "../../lib/files/pretrained.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { emptySam } from "../../lib/sam/build_sam.ts";
import { MODEL_NAMES, MODELS, type SamModel, vit } from "../../lib/sam/models.ts";
import { gpu } from "../gpu.ts";
import { testImage } from "./images.ts";

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

Deno.test("MedSAM's models are fed [0, 1], as their own code feeds a picture that spans 0 to 255", () => {
  const picture = testImage(96, 64);
  const [low, high] = [Math.min, Math.max].map((of) => picture.reduce((a, b) => of(a, b)));
  const data = picture.map((value) => 255 * (value - low) / (high - low));
  for (const name of ["medsam", "lite_medsam"] as const) {
    const { input: rule } = MODELS[name];
    const input = toModelInput({ data, width: 96, height: 64, channels: 3 }, { side: 96, rule });
    for (let y = 0; y < 96; y++) {
      for (let i = 0; i < 3 * 96; i++) {
        const own = y < 64 ? (picture[y * 288 + i] - low) / (high - low) : 0; // padded after that
        assert(Math.abs(input.data[y * 288 + i] - own) < 1e-6);
      }
    }
  }
});

Deno.test("a checkpoint of MedSAM is refused as a model that is fed otherwise", async () => {
  const cases = [
    ["vit_b", "x/medsam_vit_b.pth", "choose --model medsam"],
    ["mobile_sam", "lite_medsam.pth", "choose --model lite_medsam"],
    ["medsam", "none/medsam_vit_b.pth", "cannot read none/medsam_vit_b.pth"],
  ] as const;
  for (const [model, weights, says] of cases) {
    await assertRejects(() => weightsFile({ model, weights }), InputError, says);
  }
  await assertRejects(
    () => weightsFile({ model: "medsam", weights: null }),
    InputError,
    "get medsam_vit_b.pth",
  );
});
