// deno task experiment NAME: one row by itself.
import { InputError } from "../lib/errors.ts";
import {
  type Baseline,
  baselines,
  type Experiment,
  loraExperiment,
} from "../lib/study/experiment.ts";
import { runMain } from "../lib/study/main.ts";
import { runAlone } from "./run_alone.ts";

/** The experiment of a name: vanilla, peft, full or lora_<rank>. */
function byName(name: string | undefined): Experiment {
  if (name !== undefined && Object.hasOwn(baselines, name)) return baselines[name as Baseline];
  const rank = Number(/^lora_(\d+)$/.exec(name ?? "")?.[1]);
  if (rank >= 1) return loraExperiment(rank);
  throw new InputError(
    `there is no experiment ${
      name ?? "without a name"
    }: name vanilla, peft, full or lora_<rank>, such as lora_32`,
  );
}

await runMain(async () => {
  const [name, ...args] = Deno.args;
  await runAlone(byName(name), args);
});
