// deno task merge ADAPTER --model mobile_sam --out FILE.safetensors: weights with the adapter folded in.
import { parseArgs } from "@std/cli/parse-args";
import { InputError } from "../lib/errors.ts";
import { Gpu } from "../lib/gpu/gpu.ts";
import { unmergeResidual } from "../lib/nn/lora.ts";
import { adapterParts } from "../lib/weights/adapter.ts";
import { applyAdapter, mergedWeights } from "../lib/weights/apply_adapter.ts";
import { writeSafetensors } from "../lib/weights/safetensors.ts";
import { openAdapter } from "./harness/adapter.ts";
import { runMain } from "./harness/main.ts";
import { buildPretrained, readModelName } from "./harness/model.ts";

const usage = "usage: ./run merge ADAPTER --model NAME [--weights FILE] --out FILE.safetensors";

await runMain(async () => {
  const { _: [path, ...rest], help, model: name, weights, out } = parseArgs(Deno.args, {
    string: ["model", "weights", "out", "_"],
    boolean: ["help"],
    default: { model: "mobile_sam" },
    unknown: (option) => {
      if (option.startsWith("-")) throw new InputError(`unknown option ${option}: ${usage}`);
    },
  });
  if (help) return console.log(usage);
  if (path === undefined || rest.length > 0 || !out) throw new InputError(usage);

  const model = readModelName(name);
  const adapter = await openAdapter(String(path));
  using gpu = await Gpu.open();
  const sam = await buildPretrained(gpu, { model, weights: weights ?? null, side: 1024 });
  const layers = await applyAdapter(sam, adapter);
  const residual = await unmergeResidual(sam);
  await writeSafetensors(out, await mergedWeights(sam), { metadata: { format: "pt" } });
  const whole = adapterParts(adapter).saved.size;
  console.log(
    `Merged ${layers.size} adapted Linears and ${whole} tensors of whole modules ` +
      `(unmerging would leave a residual of ${residual.toExponential(1)})`,
  );
  console.log(`Written: ${out}`);
});
