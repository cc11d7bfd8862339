import { assert, assertEquals, assertMatch } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import { openBytes } from "../../lib/fs.ts";
import { join } from "node:path";
import { injectLora } from "../../lib/adapters/lora.ts";
import { readWeights } from "../../lib/nn/weight_source.ts";
import { Random } from "../../lib/random.ts";
import { SamPredictor } from "../../lib/sam/predictor.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { saveAdapter } from "../../lib/study/adapter_folder.ts";
import { collectAdapter } from "../../lib/adapters/apply_adapter.ts";
import { toStateDict } from "../../lib/formats/safetensors.ts";
import { openTorch } from "../../lib/formats/torch.ts";
import { gpu } from "../gpu.ts";
import { largestDifference, testBox, testImage } from "../sam/images.ts";
import { runCommand } from "./command_line.ts";
import { readTensors } from "../formats/tensors_file.ts";
import { mobileSamShapes } from "../sam/pretrained.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

/** Logits of the three masks of the test picture's ellipse. */
async function logitsOf(sam: Sam): Promise<Float32Array[]> {
  using predictor = new SamPredictor(sam, { side: 256 });
  predictor.setImage({ data: testImage(120, 96), width: 120, height: 96, channels: 3 });
  const box = testBox(120, 96);
  return (await predictor.predict({ box, returnLogits: true })).masks;
}

Deno.test("merged weights segment as model and adapter do apart", async () => {
  const options = {
    r: 8,
    lora_alpha: 16,
    use_dora: true,
    target_modules: ["attn.qkv", "attn.proj", "q_proj", "lin1"],
  };
  const sam = await loadSam(gpu);
  const vanilla = await logitsOf(sam);
  const random = new Random("adapter");
  const layers = await injectLora(sam, { ...options, random });
  for (const { lora_B: { weight } } of layers.values()) {
    weight.write(Float32Array.from({ length: weight.size }, () => 0.02 * random.normal()));
  }
  const apart = await logitsOf(sam);
  await saveAdapter(join(folder, "run", "adapter"), await collectAdapter(sam, options));
  sam.dispose();

  const args = ["run", "--model", "mobile_sam", "--out", "merged.safetensors"];
  const { code, stdout, stderr } = await runCommand(["merge", ...args], { cwd: folder });
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /Merged 29 adapted Linears.*residual of \d/);

  const state = toStateDict(readTensors(join(folder, "merged.safetensors")));
  const forTorch = ["run", "--out", "merged.pth"];
  assertEquals((await runCommand(["merge", ...forTorch], { cwd: folder })).code, 0);
  const same = await readWeights(await openTorch(openBytes(join(folder, "merged.pth"))));
  assertEquals(new Map([...same].sort()), new Map([...state].sort()));
  assertEquals([...state.keys()].sort(), [...mobileSamShapes().keys()].sort());
  const plain = (await loadSam(gpu)).loadState(state);
  const merged = await logitsOf(plain);
  plain.dispose();

  let error = 0;
  let effect = 0;
  for (const [i, logits] of apart.entries()) {
    error = Math.max(error, largestDifference(merged[i], logits));
    effect = Math.max(effect, largestDifference(vanilla[i], logits));
    // IoU 1.000 at threshold 0: of the pixels in either mask at most one in two thousand differs.
    const [own, theirs] = [merged[i], logits].map((values) => values.map((v) => Number(v > 0)));
    const union = own.filter((value, k) => value || theirs[k]).length;
    const both = own.filter((value, k) => value && theirs[k]).length;
    assert(union > 100 && both / union > 0.9995, `mask ${i}: IoU ${both / union}`);
  }
  console.log(
    `of an effect of ${effect.toFixed(1)}, merging changes logits by at most ${
      error.toExponential(1)
    }`,
  );
  assert(effect > 0.5 && error < 5e-3, `effect ${effect}, error ${error}`);
});
