// deno task profile: time by kernel, from timestamps, of one training step or forward pass.
import { parseArgs } from "@std/cli/parse-args";
import { runMain } from "../../experiments/harness/main.ts";
import { Gpu, type KernelTime } from "../../lib/gpu/gpu.ts";
import { readChoice, readCount, readModel, readSide, unknownOption } from "./command_line.ts";
import { countWork } from "./count.ts";
import { table } from "./measure.ts";
import { perSecond, productTable } from "./tables.ts";
import { batchOf, MODEL_NAMES, Training } from "./training.ts";

const usage = `usage: deno task profile [options]

  --model NAME  mobile_sam (default), or vit_b with seeded weights
  --side N      side of the input (default 256)
  --batch N     images of the step (default 4; 1 for vit_b and above side 512)
  --kind KIND   lora (default): adapters of rank 16 on every qkv; lora_late: on the last blocks' alone;
                peft: the mask decoder
  --cached      take the frozen prefix from the cache
  --forward     a forward pass without adapters
  --products    list the matrix products too, longest first
`;

/** What was added to each kernel's time since an earlier profile, longest first. */
function since(earlier: readonly KernelTime[], now: readonly KernelTime[]): KernelTime[] {
  const before = new Map(earlier.map((time) => [time.kernel, time]));
  return now.map(({ kernel, dispatches, milliseconds }) => ({
    kernel,
    dispatches: dispatches - (before.get(kernel)?.dispatches ?? 0),
    milliseconds: milliseconds - (before.get(kernel)?.milliseconds ?? 0),
  })).filter(({ dispatches }) => dispatches > 0)
    .sort((a, b) => b.milliseconds - a.milliseconds);
}

await runMain(async () => {
  const options = parseArgs(Deno.args, {
    string: ["model", "side", "batch", "kind"],
    boolean: ["cached", "forward", "products", "help"],
    default: { model: "mobile_sam", side: "256", kind: "lora" },
    unknown: unknownOption,
  });
  if (options.help) return console.log(usage);
  const { cached, forward } = options;
  const kind = forward
    ? "frozen"
    : readChoice("kind", options.kind, ["lora", "lora_late", "peft"] as const);
  const model = readModel(options.model);
  const side = readSide(options.side);
  const batch = options.batch === undefined
    ? batchOf(model, side)
    : readCount("batch", options.batch);
  using gpu = await Gpu.open({ profile: true });
  using training = await Training.open(gpu, { model, kind, side, batch });
  const work = () => forward ? training.forward() : training.step({ cached }).dispose();
  work(); // compiles
  const first = await gpu.profile();
  const start = performance.now();
  const tally = countWork(gpu, work);
  await gpu.finish();
  const wall = performance.now() - start;
  const kernels = since(first, await gpu.profile());
  const total = kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rows = kernels.map(({ kernel, dispatches, milliseconds }) => {
    const { flops, bytes } = tally.kernels.get(kernel) ?? { flops: NaN, bytes: NaN };
    return [
      kernel,
      dispatches,
      milliseconds,
      100 * milliseconds / total,
      flops > 0 ? perSecond(flops, milliseconds) : NaN,
      perSecond(bytes, milliseconds),
    ];
  });
  const what = forward ? "forward" : `${kind} step${cached ? ", prefix cached" : ""}`;
  console.log(`${gpu.info.name}: ${MODEL_NAMES[model]}, ${what}, side ${side}, batch ${batch}\n`);
  console.log(table(["Kernel", "dispatches", "ms", "%", "GFLOP/s", "GB/s"], rows));
  if (options.products) console.log("\n" + productTable(tally));
  const { flops, dispatches } = tally.total;
  console.log(
    `\n${dispatches} dispatches, ${(flops / 1e9).toPrecision(4)} GFLOP, ` +
      `${perSecond(flops, wall).toPrecision(3)} GFLOP/s`,
  );
  console.log(
    `kernels ${total.toFixed(0)} ms of ${wall.toFixed(0)} ms wall with timestamps ` +
      `(${(100 * total / wall).toFixed(1)} %)`,
  );
});
