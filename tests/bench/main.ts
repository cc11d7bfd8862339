// deno task bench: kernels, forward passes and training steps with their costs, beside the ceiling.
import { InputError } from "../../lib/errors.ts";
import { Ceiling } from "./ceiling.ts";
import { type Bench, runBench } from "./command_line.ts";
import { benchHost } from "./host.ts";
import { benchKernels } from "./kernels.ts";
import { benchMemory } from "./memory.ts";
import { benchModels, MODEL_CASES, type ModelCase } from "./models.ts";
import { hostTable, kernelTable, memoryTable, modelTable } from "./tables.ts";

const usage = `usage: deno task bench [options]

  --only NAME    one part: kernels, models, host or memory (these two only if named)
  --model NAME   models: mobile_sam or vit_b alone
  --side N       models: this side alone
  --long         models: the slow ones too (MobileSAM at 1024, ViT-B at 512 and 1024)
  --python PATH  a Python with numpy (on a GPU: torch), whose matrix product is the ceiling
  --rounds N     timed runs of each at most (default 5)
  --json FILE    write figures, adapter and versions to FILE
`;

const PARTS = ["kernels", "models", "host", "memory"] as const;

/** The models that the options choose. */
function chosenModels(
  { model, side, long }: Bench<typeof PARTS[number]>,
): readonly ModelCase[] {
  if (model && side) return [{ model, side }];
  const chosen = MODEL_CASES.filter((one) =>
    (!model || one.model === model) && (!side || one.side === side) &&
    (long || side !== undefined || !one.long)
  );
  if (chosen.length === 0) throw new InputError(`--side ${side} needs --model to be measured`);
  return chosen;
}

await runBench("bench", { usage, parts: PARTS, rounds: "5" }, async (bench) => {
  const { gpu, only, python, rounds } = bench;
  const cases = chosenModels(bench);
  const wanted = (part: typeof PARTS[number]) => only === undefined || only === part;
  if (wanted("kernels")) {
    using ceiling = await Ceiling.open(gpu.info, python);
    const library = ceiling?.name ?? null;
    const kernels = await benchKernels(gpu, { rounds, ceiling });
    await bench.add("kernels", { library, kernels }, kernelTable(kernels, library));
  }
  if (wanted("models")) {
    const models = await benchModels(cases, { rounds, python });
    await bench.add("models", models, modelTable(models));
    for (const { errors } of models) errors.forEach((error) => console.log(`failed: ${error}`));
  }
  if (only === "host") {
    const host = await benchHost();
    await bench.add("host", host, hostTable(host));
  }
  if (only === "memory") {
    const memory = await benchMemory();
    await bench.add("memory", memory, memoryTable(memory));
  }
});
