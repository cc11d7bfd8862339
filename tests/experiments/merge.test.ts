import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { DEFAULTS } from "../../lib/study/schema.ts";
import { adapterExperiment } from "../../lib/study/experiment.ts";
import { loadAdapter, saveAdapter } from "../../lib/study/adapter_folder.ts";
import { fixtures } from "../adapters/tiny_model.ts";
import { runCommand } from "./command_line.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

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
  await Deno.writeTextFile(join(folder, "there.pth"), "");
  await Deno.writeTextFile(join(folder, "there.decoder.onnx"), "");
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
    [[join(fixtures, "default"), "--out", "there.pth"], /there\.pth exists: .*--overwrite/],
    [
      [join(fixtures, "default"), "--onnx", "--out", "there"],
      /there\.decoder\.onnx exists: .*--overwrite/,
    ],
    [
      [join(fixtures, "default"), "--weights", "there.pth", "--out", "there.pth", "--overwrite"],
      /there\.pth is an input/,
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
