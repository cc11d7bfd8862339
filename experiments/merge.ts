// ./run merge ADAPTER --out FILE: weights with the adapter folded in, or, with --onnx, two ONNX graphs.
import { extname } from "node:path";
import metadata from "../deno.json" with { type: "json" };
import { excerpt, InputError } from "../lib/errors.ts";
import { loadSam, weightsFile } from "../lib/files/pretrained.ts";
import { Gpu } from "../lib/gpu/gpu.ts";
import { unmergeResidual } from "../lib/adapters/adapter_layer.ts";
import { type LazyTensor, readWeights } from "../lib/nn/weight_source.ts";
import { adapterParts } from "../lib/adapters/adapter.ts";
import { applyAdapter, mergedWeights } from "../lib/adapters/apply_adapter.ts";
import { encodeSafetensors, rawTensors } from "../lib/formats/safetensors.ts";
import { writeTorch } from "../lib/formats/torch_writer.ts";
import { openAdapter, ownWeights, requireBase, runOf } from "../lib/study/adapter.ts";
import { type ModelName, MODELS, strideOf } from "../lib/sam/models.ts";
import { decoderGraph } from "../lib/sam/onnx_decoder.ts";
import { encoderGraph, ONNX_FRAME } from "../lib/sam/onnx_encoder.ts";
import type { Values } from "../lib/study/command_line.ts";
import { runCommand } from "../lib/study/main.ts";
import { adapterPath } from "../lib/study/shipped.ts";
import { commands, onnxFiles } from "./commands.ts";
import { requireFree } from "../lib/files/outputs.ts";
import { writeAtomic, writeFileAtomic } from "../lib/fs.ts";

/** Weights whose shapes go by the side of the model's input. */
const SIZED = /\.(pos_embed|rel_pos_[hw])$/;

/** The command's values. */
type Options = Values<typeof commands.merge.fields>;

/** Checks that `--out` is named as what is written. */
function checkOut({ out, onnx }: Options): void {
  if (onnx ? !/\.(safetensors|pth|pt|onnx)$/.test(out) : /\.(safetensors|pth|pt)$/.test(out)) {
    return;
  }
  throw new InputError(
    onnx
      ? `--out cannot be ${
        excerpt(out)
      } with --onnx: give the beginning of both files' names, as in ` +
        `--out model for ${onnxFiles("model").join(" and ")}`
      : `--out cannot be ${excerpt(out)}: it must end in .safetensors, or .pth for PyTorch`,
  );
}

/** Writes the merged weights as encoder and decoder, for the side that they are used at. */
async function writeGraphs(
  tensors: ReadonlyMap<string, LazyTensor>,
  { out, model, side }: { out: string; model: ModelName; side: number },
): Promise<void> {
  const state = await readWeights({ source: out, tensors, [Symbol.dispose]: () => {} });
  const producer = { name: metadata.name, version: metadata.version };
  const grid = side / strideOf(MODELS[model].encoder);
  const graphs = [
    encoderGraph(state, { model: MODELS[model], side }),
    decoderGraph(state, { side, grid }),
  ];
  for (const [i, path] of onnxFiles(out).entries()) {
    await writeFileAtomic(path, graphs[i].encode(producer));
    console.log(`Written: ${path}`);
  }
  console.log(
    `The graphs take images whose longest side is ${ONNX_FRAME} pixels, as samexporter's do, and compute at ` +
      `side ${side}.`,
  );
}

await runCommand(commands.merge, async ({ argument, given, values }) => {
  const path = adapterPath(argument);
  const { out } = values;
  checkOut(values);
  const run = await runOf(path);
  const model = given.model ?? run?.model ?? values.model;
  const weights = values.weights ?? ownWeights(path, run);
  const adapter = await openAdapter(path);
  const base = await weightsFile({ model, weights });
  requireFree(values.onnx ? onnxFiles(out) : [out], {
    inputs: [path, base],
    overwrite: values.overwrite,
    remedy: "give another --out",
  });
  await requireBase(adapter, base);
  const { saved } = adapterParts(adapter);
  // Adapters do not depend on the side: at SAM's own, segment_anything loads the result. A run that
  // trained weights that do is merged at its side.
  const own = [...saved.keys()].some((name) => SIZED.test(name)) ? run?.side ?? 1024 : 1024;
  const native = MODELS[model].sides.native;
  const side = values.onnx ? given.side ?? run?.side ?? native : own;
  await using gpu = await Gpu.open();
  const sam = await loadSam(gpu, { model, weights, side });
  const layers = await applyAdapter(sam, adapter);
  const residual = await unmergeResidual(sam);
  const tensors = mergedWeights(sam);
  console.log(
    `Merged ${layers.size} adapted Linears and ${saved.size} tensors of whole modules into ${model} ` +
      `(unmerging would leave a residual of ${residual.toExponential(1)})`,
  );
  if (values.onnx) return await writeGraphs(tensors, { out, model, side });
  if (extname(out) === ".safetensors") {
    const state = await readWeights({ source: out, tensors, [Symbol.dispose]: () => {} });
    await writeFileAtomic(
      out,
      encodeSafetensors(rawTensors(state), { metadata: { format: "pt" } }),
    );
  } else {
    await writeAtomic(out, (output) => writeTorch(output, tensors, { source: out }));
  }
  console.log(`Written: ${out}`);
});
