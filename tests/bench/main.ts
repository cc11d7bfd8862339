// deno task bench: kernels, forward passes and training steps of MobileSAM, and the start, with their costs.
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { runMain } from "../../experiments/harness/main.ts";
import { InputError } from "../../lib/errors.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { benchKernels } from "./kernels.ts";
import { table } from "./measure.ts";
import { benchMemory, memoryRows } from "./memory.ts";
import { writeRecord } from "./record.ts";
import { benchSteps, type StepResult } from "./steps.ts";

const usage = `usage: deno task bench [options]

  --only NAME   one part: kernels, steps, start or memory (minutes; not run unless named)
  --json FILE   write figures, adapter and versions to FILE
  --rounds N    timed runs of each (default 5)
  --long        steps at side 1024 too
`;

const PARTS = ["kernels", "steps", "start", "memory"];

/** Seconds to the first loss in a new process: with an empty shader cache, then with a full one. */
async function benchStart(): Promise<{ coldSeconds: number; warmSeconds: number }> {
  const shaders = await Deno.makeTempDir();
  const start = async () => {
    const begin = performance.now();
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", join(import.meta.dirname!, "first_loss.ts")],
      env: { MESA_SHADER_CACHE_DIR: shaders },
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    return (performance.now() - begin) / 1000;
  };
  try {
    return { coldSeconds: await start(), warmSeconds: await start() };
  } finally {
    await Deno.remove(shaders, { recursive: true });
  }
}

/** The lines of the steps' table. */
function stepRows(steps: readonly StepResult[]): (string | number)[][] {
  const row = (name: string, value: (step: StepResult) => number) => [name, ...steps.map(value)];
  const percent = (part: number, whole: number) => 100 * (part / whole - 1);
  return [
    row("forward, frozen (ms)", (step) => step.frozenForward),
    row("forward, LoRA-16 merged (ms)", (step) => step.mergedForward),
    row("forward, LoRA-16 unmerged (ms)", (step) => step.unmergedForward),
    row("merged over frozen (%)", (step) => percent(step.mergedForward, step.frozenForward)),
    row("unmerged over frozen (%)", (step) => percent(step.unmergedForward, step.frozenForward)),
    row("LoRA-16 step (ms)", (step) => step.step),
    row("LoRA-16 step, prefix cached (ms)", (step) => step.cachedStep),
    row("dispatches a step", (step) => step.dispatches),
    row("host, encoding (µs a dispatch)", (step) => step.encodeMicroseconds),
    row("host, in submit (µs a dispatch)", (step) => step.submitMicroseconds),
    row("peak GPU memory (MiB)", (step) => step.peakGpuBytes / 2 ** 20),
    row("resident memory (MiB)", (step) => step.residentBytes / 2 ** 20),
  ];
}

await runMain(async () => {
  const options = parseArgs(Deno.args, {
    string: ["only", "json", "rounds"],
    boolean: ["long", "help"],
    default: { rounds: "5" },
    unknown: (option) => {
      throw new InputError(`there is no option ${option.split("=")[0]}: --help lists them`);
    },
  });
  if (options.help) return console.log(usage);
  const { only, json } = options;
  if (only !== undefined && !PARTS.includes(only)) {
    throw new InputError(`there is no part ${only}: choose ${PARTS.join(", ")}`);
  }
  const rounds = Number(options.rounds);
  if (!(Number.isInteger(rounds) && rounds > 0)) {
    throw new InputError(`--rounds ${options.rounds} must be a whole number above 0`);
  }
  const loadAtStart = Deno.loadavg();
  const results: Record<string, unknown> = {};
  const wanted = (part: string) => only === undefined || only === part;
  using gpu = await Gpu.open();
  console.log(`${gpu.info.name}, Deno ${Deno.version.deno}, load ${loadAtStart[0].toFixed(2)}\n`);

  if (wanted("kernels")) {
    const kernels = await benchKernels(gpu, { rounds });
    results.kernels = kernels;
    const rows = kernels.map(({ name, milliseconds, speed, unit }) => [
      name,
      milliseconds,
      speed,
      unit,
    ]);
    console.log(table(["Kernel", "ms", "speed", "unit"], rows) + "\n");
  }
  if (wanted("steps")) {
    const steps: StepResult[] = [];
    for (const side of options.long ? [256, 512, 1024] : [256, 512]) {
      steps.push(await benchSteps(side, { rounds: side === 256 ? rounds : Math.min(3, rounds) }));
    }
    results.steps = steps;
    const head = ["MobileSAM, batch 4", ...steps.map(({ side }) => `side ${side}`)];
    console.log(table(head, stepRows(steps)) + "\n");
  }
  if (wanted("start")) {
    const start = await benchStart();
    results.start = start;
    const rows = [["cold", start.coldSeconds], ["warm", start.warmSeconds]];
    console.log(table(["Start to first loss, MobileSAM 256", "s"], rows) + "\n");
  }
  if (only === "memory") {
    const memory = await benchMemory();
    results.memory = memory;
    const head = ["1,000 training steps", "resident MiB", "growth %", "GPU MiB", "growth %"];
    console.log(table(head, memoryRows(memory)) + "\n");
  }
  const command = ["deno task bench", ...Deno.args].join(" ");
  await writeRecord(gpu.info, { command, loadAtStart, results, json });
});
