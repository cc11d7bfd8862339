// Writes what MedSAM or LiteMedSAM makes here of a picture, for tests/reference/check_medsam.py:
// deno run -A tests/sam/medsam.ts medsam|lite_medsam WEIGHTS FILE.safetensors
import { loadSam } from "../../lib/files/pretrained.ts";
import { float32Tensor } from "../../lib/formats/raw_tensor.ts";
import { encodeSafetensors } from "../../lib/formats/safetensors.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { MODELS } from "../../lib/sam/models.ts";
import { SamPredictor } from "../../lib/sam/predictor.ts";
import { testBox, testImage } from "./images.ts";

const [name, weights, out] = Deno.args;
const model = name === "medsam" ? "medsam" : "lite_medsam";
const side = MODELS[model].sides.native;
// MedSAM's own code stretches pictures to squares; LiteMedSAM's pads them, as here.
const [width, height] = model === "medsam" ? [side, side] : [256, 192];
const picture = testImage(width, height);
const [low, high] = [Math.min, Math.max].map((of) => picture.reduce((a, b) => of(a, b)));
const data = picture.map((value) => Math.round(255 * (value - low) / (high - low)));
await using gpu = await Gpu.open();
const sam = await loadSam(gpu, { model, weights, side });
using predictor = new SamPredictor(sam, { side });
predictor.setImage({ data, width, height, channels: 3 });
const box = testBox(width, height);
const start = performance.now();
const { lowResMasks, masks: [logits] } = await predictor.predict({
  box,
  multimaskOutput: false,
  returnLogits: true,
});
console.log(`${(performance.now() - start).toFixed(0)} ms`);
const embedding = await predictor.getImageEmbedding().data();
await Deno.writeFile(
  out,
  encodeSafetensors(
    new Map([
      ["picture", float32Tensor([height, width, 3], data)],
      ["box", float32Tensor([4], Float32Array.from(box))],
      ["embedding", float32Tensor([64, 64, 256], embedding)],
      ["low_res", float32Tensor([256, 256], lowResMasks)],
      ["logits", float32Tensor([height, width], logits)],
    ]),
  ),
);
