import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { adapterWeights } from "../../lib/adapters/adapter.ts";
import { toStateDict } from "../../lib/formats/safetensors.ts";
import { loadAdapter } from "../../lib/study/adapter_folder.ts";
import { runCommand } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";
import { readTensors } from "../formats/tensors_file.ts";
import { mobileSamState } from "../sam/pretrained.ts";

const folder = await tinyDataset(6);
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(args, { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  return stdout;
}

Deno.test("--peft-type loha trains, saves and scores a row LoHa-2, whose merged weights hold its update", async () => {
  const sizes = ["--preset", "study", "--side", "64", "--epochs", "1", "--max-train", "4"];
  const limits = ["--max-validation", "1", "--max-test", "1", "--ranks", "2", "--lr", "0.01"];
  const kind = ["--peft-type", "loha", "--alpha", "3", "--baselines", "vanilla"];
  const study = ["--data", "data", "--out", "study", ...sizes, ...limits, ...kind];
  assertMatch(await run("experiments", ...study), /^LoHa-2 /m);
  const adapter = await loadAdapter(join(folder, "study", "adapters", "loha_2"));
  const { peft_type, r, alpha } = adapter.config!;
  assertEquals([peft_type, r, alpha], ["LOHA", 2, 3]);

  await run("merge", "study/adapters/loha_2", "--out", "merged.safetensors");
  const merged = toStateDict(readTensors(join(folder, "merged.safetensors")));
  const weights = adapterWeights(adapter);
  const layers = new Set([...weights.keys()].map((name) => name.replace(/\.hada_.*/, "")));
  assertEquals(layers.size, 10);
  const pretrained = await mobileSamState();
  for (const [name, { shape, data }] of merged) {
    const before = pretrained.get(name)!.data;
    const layer = name.replace(/\.weight$/, "");
    if (!name.endsWith(".weight") || !layers.has(layer)) {
      assertEquals(data, before, name);
      continue;
    }
    const [w1a, w1b, w2a, w2b] = ["w1_a", "w1_b", "w2_a", "w2_b"].map((factor) =>
      weights.get(`${layer}.hada_${factor}`)!.data
    );
    const inp = shape[1];
    const product = (left: Float32Array, right: Float32Array, o: number, i: number) =>
      left[2 * o] * right[i] + left[2 * o + 1] * right[inp + i];
    let [error, effect] = [0, 0];
    for (let at = 0; at < data.length; at++) {
      const [o, i] = [Math.floor(at / inp), at % inp];
      const update = 1.5 * product(w1a, w1b, o, i) * product(w2a, w2b, o, i);
      error = Math.max(error, Math.abs(data[at] - before[at] - update));
      effect = Math.max(effect, Math.abs(update));
    }
    assert(effect > 1e-5 && error < 1e-7, `${layer}: update ${effect}, off by ${error}`);
  }
});
