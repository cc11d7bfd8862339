// ./run merge ADAPTER --out FILE.safetensors or FILE.pth: weights with the adapter folded in.
import { extname } from "node:path";
import { loadSam, weightsFile } from "../lib/files/pretrained.ts";
import { Gpu } from "../lib/gpu/gpu.ts";
import { unmergeResidual } from "../lib/adapters/adapter_layer.ts";
import { readWeights } from "../lib/nn/weight_source.ts";
import { adapterParts } from "../lib/adapters/adapter.ts";
import { applyAdapter, mergedWeights } from "../lib/adapters/apply_adapter.ts";
import { encodeSafetensors, rawTensors } from "../lib/formats/safetensors.ts";
import { writeTorch } from "../lib/formats/torch_writer.ts";
import { openAdapter, ownWeights, requireBase, runOf } from "../lib/study/adapter.ts";
import { runCommand } from "../lib/study/main.ts";
import { commands } from "./commands.ts";
import { writeAtomic, writeFileAtomic } from "../lib/fs.ts";

/** Weights whose shapes go by the side of the model's input. */
const SIZED = /\.(pos_embed|rel_pos_[hw])$/;

await runCommand(commands.merge, async ({ argument: path, given, values }) => {
  const { out } = values;
  const run = await runOf(path);
  const model = given.model ?? run?.model ?? values.model;
  const weights = values.weights ?? ownWeights(path, run);
  const adapter = await openAdapter(path);
  await requireBase(adapter, await weightsFile({ model, weights }));
  const { saved } = adapterParts(adapter);
  // Adapters do not depend on the side: at SAM's own, segment_anything loads the result. A run that
  // trained weights that do is merged at its side.
  const side = [...saved.keys()].some((name) => SIZED.test(name)) ? run?.side ?? 1024 : 1024;
  await using gpu = await Gpu.open();
  const sam = await loadSam(gpu, { model, weights, side });
  const layers = await applyAdapter(sam, adapter);
  const residual = await unmergeResidual(sam);
  const tensors = mergedWeights(sam);
  if (extname(out) === ".safetensors") {
    const state = await readWeights({ source: out, tensors, [Symbol.dispose]: () => {} });
    await writeFileAtomic(
      out,
      encodeSafetensors(rawTensors(state), { metadata: { format: "pt" } }),
    );
  } else {
    await writeAtomic(out, (output) => writeTorch(output, tensors, { source: out }));
  }
  console.log(
    `Merged ${layers.size} adapted Linears and ${saved.size} tensors of whole modules into ${model} ` +
      `(unmerging would leave a residual of ${residual.toExponential(1)})`,
  );
  console.log(`Written: ${out}`);
});
