// deno task experiment NAME: one row by itself.
import { InputError } from "../lib/errors.ts";
import { type Experiment, loraExperiment } from "./harness/config.ts";
import { runMain } from "./harness/main.ts";
import { runAlone } from "./harness/run_alone.ts";
import { experiment as peft } from "./peft.ts";
import { experiment as vanilla } from "./vanilla.ts";

/** The experiment of a name: vanilla, peft or lora_<rank>. */
function byName(name: string | undefined): Experiment {
  if (name === "vanilla") return vanilla;
  if (name === "peft") return peft;
  const rank = Number(/^lora_(\d+)$/.exec(name ?? "")?.[1]);
  if (rank >= 1) return loraExperiment(rank);
  throw new InputError(
    `there is no experiment ${
      name ?? "without a name"
    }: name vanilla, peft or lora_<rank>, such as lora_32`,
  );
}

await runMain(async () => {
  const [name, ...args] = Deno.args;
  await runAlone(byName(name), args);
});
