// deno task bench: kernels, forward passes and training steps with their costs, beside the ceiling.
import { parseArgs } from "@std/cli/parse-args";
import { runMain } from "../../lib/study/main.ts";
import { InputError } from "../../lib/errors.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { Ceiling } from "./ceiling.ts";
import {
  commandText,
  loadAtStart,
  readChoice,
  readCount,
  readModel,
  readPython,
  readSide,
  unknownOption,
} from "./command_line.ts";
import { benchHost } from "./host.ts";
import { benchKernels } from "./kernels.ts";
import { benchMemory } from "./memory.ts";
import { benchModels, MODEL_CASES, type ModelCase } from "./models.ts";
import { writeRecord } from "./record.ts";
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
  options: { model?: string; side?: string; long: boolean },
): readonly ModelCase[] {
  const model = options.model === undefined ? undefined : readModel(options.model);
  const side = options.side === undefined ? undefined : readSide(options.side);
  if (model && side) return [{ model, side }];
  const chosen = MODEL_CASES.filter((one) =>
    (!model || one.model === model) && (!side || one.side === side) &&
    (options.long || side !== undefined || !one.long)
  );
  if (chosen.length === 0) throw new InputError(`--side ${side} needs --model to be measured`);
  return chosen;
}

await runMain(async () => {
  const options = parseArgs(Deno.args, {
    string: ["only", "model", "side", "python", "rounds", "json"],
    boolean: ["long", "help"],
    default: { rounds: "5" },
    unknown: unknownOption,
  });
  if (options.help) return console.log(usage);
  const { json } = options;
  const python = await readPython(options.python);
  const only = options.only === undefined ? undefined : readChoice("part", options.only, PARTS);
  const wanted = (part: typeof PARTS[number]) => only === undefined || only === part;
  const cases = chosenModels(options);
  const rounds = readCount("rounds", options.rounds);
  const load = loadAtStart();
  const results: Record<string, unknown> = {};
  const command = commandText("bench", python);
  // After every part: what was measured is not lost if a later one fails.
  const save = () => writeRecord(gpu.info, { command, loadAtStart: load, results, json });
  using gpu = await Gpu.open();
  console.log(`${gpu.info.name}, Deno ${Deno.version.deno}, load ${load[0].toFixed(2)}\n`);

  if (wanted("kernels")) {
    using ceiling = await Ceiling.open(gpu.info, python);
    const kernels = await benchKernels(gpu, { rounds, ceiling });
    results.kernels = { library: ceiling?.name ?? null, kernels };
    await save();
    console.log(kernelTable(kernels, ceiling?.name ?? null) + "\n");
  }
  if (wanted("models")) {
    const models = await benchModels(cases, { rounds, python });
    results.models = models;
    await save();
    console.log(modelTable(models) + "\n");
    for (const { errors } of models) errors.forEach((error) => console.log(`failed: ${error}`));
  }
  if (only === "host") {
    const host = await benchHost();
    results.host = host;
    await save();
    console.log(hostTable(host) + "\n");
  }
  if (only === "memory") {
    const memory = await benchMemory();
    results.memory = memory;
    await save();
    console.log(memoryTable(memory) + "\n");
  }
});
