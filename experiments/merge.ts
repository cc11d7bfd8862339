// deno task merge ADAPTER --out FILE.safetensors or FILE.pth: weights with the adapter folded in.
import { parseArgs } from "@std/cli/parse-args";
import { extname } from "node:path";
import { InputError } from "../lib/errors.ts";
import { Gpu } from "../lib/gpu/gpu.ts";
import { unmergeResidual } from "../lib/adapters/adapter_layer.ts";
import { readWeights } from "../lib/nn/weight_source.ts";
import { adapterParts } from "../lib/adapters/adapter.ts";
import { applyAdapter, mergedWeights } from "../lib/adapters/apply_adapter.ts";
import { writeSafetensors } from "../lib/formats/safetensors.ts";
import { writeTorch } from "../lib/formats/torch_writer.ts";
import { openAdapter, ownWeights, requireBase, runOf } from "../lib/study/adapter.ts";
import { runMain } from "../lib/study/main.ts";
import { buildPretrained, readModelName, weightsFile } from "../lib/study/model.ts";

const usage =
  "usage: ./run merge ADAPTER [--model NAME] [--weights FILE] --out FILE.safetensors|FILE.pth";

/** Weights whose shapes go by the side of the model's input. */
const SIZED = /\.(pos_embed|rel_pos_[hw])$/;

await runMain(async () => {
  const { _: [path, ...rest], help, model: name, weights: file, out } = parseArgs(Deno.args, {
    string: ["model", "weights", "out", "_"],
    boolean: ["help"],
    unknown: (option) => {
      if (option.startsWith("-")) throw new InputError(`unknown option ${option}: ${usage}`);
    },
  });
  if (help) return console.log(usage);
  if (path === undefined || rest.length > 0 || !out) throw new InputError(usage);
  const extension = extname(out);
  if (![".safetensors", ".pth", ".pt"].includes(extension)) {
    throw new InputError(`--out ${out} must end in .safetensors, or in .pth or .pt for PyTorch`);
  }

  const run = await runOf(String(path));
  const model = readModelName(name ?? run?.model ?? "mobile_sam");
  const weights = file ?? ownWeights(String(path), run);
  const adapter = await openAdapter(String(path));
  await requireBase(adapter, await weightsFile({ model, weights, side: 1024 }));
  const { saved } = adapterParts(adapter);
  // Adapters do not depend on the side: at SAM's own, segment_anything loads the result. A run that
  // trained weights that do is merged at its side.
  const side = [...saved.keys()].some((name) => SIZED.test(name)) ? run?.side ?? 1024 : 1024;
  using gpu = await Gpu.open();
  const sam = await buildPretrained(gpu, { model, weights, side });
  const layers = await applyAdapter(sam, adapter);
  const residual = await unmergeResidual(sam);
  const tensors = mergedWeights(sam);
  if (extension === ".safetensors") {
    const state = await readWeights({ source: out, tensors, [Symbol.dispose]: () => {} });
    await writeSafetensors(out, new Map(state), { metadata: { format: "pt" } });
  } else await writeTorch(out, tensors);
  console.log(
    `Merged ${layers.size} adapted Linears and ${saved.size} tensors of whole modules into ${model} ` +
      `(unmerging would leave a residual of ${residual.toExponential(1)})`,
  );
  console.log(`Written: ${out}`);
});
