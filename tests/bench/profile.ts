// deno task profile: time by kernel, from timestamps, of one training step of MobileSAM.
import { parseArgs } from "@std/cli/parse-args";
import { runMain } from "../../experiments/harness/main.ts";
import { InputError } from "../../lib/errors.ts";
import { Gpu, type KernelTime } from "../../lib/gpu/gpu.ts";
import { table } from "./measure.ts";
import { Training } from "./mobile_sam.ts";

const usage = `usage: deno task profile [options]

  --side N      side of the input (default 256)
  --batch N     images of the step (default 4)
  --kind KIND   lora (default): adapters of rank 16 on every qkv; peft: the mask decoder
`;

/** A whole number above 0 from an option. */
function count(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new InputError(`--${name} ${text} must be a whole number above 0`);
}

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
    string: ["side", "batch", "kind"],
    boolean: ["help"],
    default: { side: "256", batch: "4", kind: "lora" },
    unknown: (option) => {
      throw new InputError(`there is no option ${option.split("=")[0]}: --help lists them`);
    },
  });
  if (options.help) return console.log(usage);
  const { kind } = options;
  if (kind !== "lora" && kind !== "peft") {
    throw new InputError(`there is no kind ${kind}: choose lora or peft`);
  }
  const side = count("side", options.side);
  if (side % 64 !== 0) throw new InputError(`--side ${side} must be a multiple of 64`);
  using gpu = await Gpu.open({ profile: true });
  using training = await Training.open(gpu, { kind, side, batch: count("batch", options.batch) });
  training.step().dispose(); // compiles
  const first = await gpu.profile();
  const start = performance.now();
  training.step().dispose();
  await gpu.finish();
  const wall = performance.now() - start;
  const kernels = since(first, await gpu.profile());
  const total = kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rows = kernels.map(({ kernel, dispatches, milliseconds }) => [
    kernel,
    dispatches,
    milliseconds,
    100 * milliseconds / total,
  ]);
  console.log(`${gpu.info.name}: ${kind}, side ${side}, batch ${options.batch}\n`);
  console.log(table(["Kernel", "dispatches", "ms", "%"], rows));
  console.log(`\nkernels ${total.toFixed(0)} ms, wall ${wall.toFixed(0)} ms with timestamps`);
});
