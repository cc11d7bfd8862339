// Cost of augmenting a slice, on the device by its timestamps and on the host, beside a training step
// of adapters on every qkv of MobileSAM. Steps and augmentations take turns, so that both meet the same
// machine:
// deno run -A tests/bench/augment_time.ts
import { augment } from "../../lib/data/augment.ts";
import { AUGMENT_DEFAULTS, type AugmentOptions } from "../../lib/data/augment_options.ts";
import { inputGeometry } from "../../lib/data/preprocess.ts";
import { SAM_INPUT } from "../../lib/sam/models.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { Random } from "../../lib/random.ts";
import { augmentImage, modelInput } from "../../lib/tensor/ops/augment.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { discs } from "../train/discs.ts";
import { table } from "./measure.ts";
import { batchOf, Training } from "./training.ts";

const ROUNDS = 2;
const DRAWS = 8; // augmentations a round

const everything = Object.fromEntries(
  Object.entries(AUGMENT_DEFAULTS).map(([name, values]) => [name, { ...values, chance: 1 }]),
) as AugmentOptions;

const isOurs = (kernel: string) => kernel === "augment" || kernel === "model_input";

/** The device's milliseconds so far: those of our two kernels, and those of all others. */
async function deviceTimes(gpu: Gpu): Promise<{ own: number; others: number }> {
  const times = { own: 0, others: 0 };
  for (const { kernel, milliseconds } of await gpu.profile()) {
    times[isOurs(kernel) ? "own" : "others"] += milliseconds;
  }
  return times;
}

/** Milliseconds for a slice of a size at an input side: of the step, the kernels and the host. */
async function measure(
  gpu: Gpu,
  { side, size }: { side: number; size: number },
): Promise<{ step: number; kernels: number; host: number }> {
  const batch = batchOf("mobile_sam", side);
  using training = await Training.open(gpu, { kind: "lora", side, batch });
  const reader = discs("timed", { count: 1, width: size, height: size });
  const slice = await reader.read(reader.refs[0]);
  const draw = (seed: number) => {
    using _ = new Scope(gpu);
    const start = performance.now();
    const { change } = augment(slice, new Random(seed), everything);
    const host = performance.now() - start;
    const image = Tensor.from(gpu, slice.image, [size, size]);
    modelInput(augmentImage(image, change!), {
      ...inputGeometry({ width: size, height: size }, side),
      ...SAM_INPUT,
    });
    return host;
  };
  training.step().dispose();
  for (let seed = 0; seed < DRAWS; seed++) draw(seed); // compiles, on both sides
  const before = await deviceTimes(gpu);
  let host = 0;
  for (let round = 0; round < ROUNDS; round++) {
    training.step().dispose();
    for (let seed = 0; seed < DRAWS; seed++) host += draw(seed);
    await gpu.finish();
  }
  const after = await deviceTimes(gpu);
  return {
    step: (after.others - before.others) / (ROUNDS * batch),
    kernels: (after.own - before.own) / (ROUNDS * DRAWS),
    host: host / (ROUNDS * DRAWS),
  };
}

const rows: string[][] = [];
using gpu = await Gpu.open({ profile: true });
for (
  const [side, size] of [
    [256, 192],
    [256, 512],
    [512, 512],
  ] as const
) {
  const { step, kernels, host } = await measure(gpu, { side, size });
  rows.push([
    String(side),
    `${size} x ${size}`,
    step.toFixed(0),
    kernels.toFixed(2),
    `${(100 * kernels / step).toFixed(2)} %`,
    host.toFixed(1),
  ]);
}
console.log(gpu.info.name);
console.log(
  table(["side", "slice", "step, ms", "kernels, ms", "share", "host, ms"], rows),
);
