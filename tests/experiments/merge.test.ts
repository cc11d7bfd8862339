import { assert, assertEquals, assertMatch } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import { openBytes } from "../../lib/fs.ts";
import { join } from "node:path";
import { DEFAULTS } from "../../lib/study/schema.ts";
import { adapterExperiment } from "../../lib/study/experiment.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { readWeights } from "../../lib/nn/weight_source.ts";
import { Random } from "../../lib/random.ts";
import { SamPredictor } from "../../lib/sam/predictor.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { loadAdapter, saveAdapter } from "../../lib/study/adapter_folder.ts";
import { collectAdapter } from "../../lib/adapters/apply_adapter.ts";
import { toStateDict } from "../../lib/formats/safetensors.ts";
import { openTorch } from "../../lib/formats/torch.ts";
import { gpu } from "../gpu.ts";
import { largestDifference, testBox, testImage } from "../sam/images.ts";
import { fixtures } from "../adapters/tiny_model.ts";
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

Deno.test("merge names what does not fit, in one sentence", async () => {
  const adapter = await loadAdapter(join(fixtures, "default"));
  for (const name of ["vit_b_run", "no_run"]) {
    await saveAdapter(join(folder, name, "adapter"), adapter);
  }
  const run = {
    experiment: adapterExperiment(4, DEFAULTS),
    config: { ...DEFAULTS, model: "vit_b" },
  };
  await Deno.writeTextFile(join(folder, "vit_b_run", "config.json"), JSON.stringify(run));
  const split = { seed: 0, train: ["a"], validation: ["b"], test: ["c"] };
  await Deno.writeTextFile(join(folder, "vit_b_run", "split.json"), JSON.stringify(split));
  await Deno.writeTextFile(join(folder, "no_run", "config.json"), "{");
  const cases: [string[], RegExp][] = [
    [[], /merge needs ADAPTER .* and --out/],
    [["nowhere", "--out", "x.pth"], /nowhere holds no adapter/],
    [
      [join(fixtures, "default"), "--out", "x.pth"],
      /image_encoder\.blocks\.0\.attn\.qkv.*does not have/,
    ],
    [
      [join(fixtures, "default"), "--out", "x.pt", "--model", "vit_x"],
      /--model cannot be vit_x: choose mobile_sam/,
    ],
    [[join(fixtures, "default"), "--to", "x"], /--to/],
    [
      [join(fixtures, "default"), "--out", "x.onnx"],
      /--out cannot be x\.onnx: it must end in \.safetensors.*\.pth/,
    ],
    [
      [join(fixtures, "default"), "--onnx", "--out", "x.onnx"],
      /--out cannot be x\.onnx with --onnx: give the beginning.*x?model\.encoder\.onnx/,
    ],
    // The model is the run's, whose weights were not fetched here, unless another is named.
    [["vit_b_run", "--out", "x.pth"], /--model vit_b needs its weights/],
    [["vit_b_run", "--out", "x.pth", "--model", "vit_l"], /--model vit_l needs its weights/],
    [["no_run", "--out", "x.pth"], /no_run.config\.json is damaged/],
  ];
  for (const [args, says] of cases) {
    const { code, stderr } = await runCommand(["merge", ...args], { cwd: folder });
    assertEquals(code, 1, stderr);
    assertMatch(stderr, says);
    assertEquals(stderr.split("\n").filter((line) => line && !line.includes("XDG_")).length, 1);
  }
});
