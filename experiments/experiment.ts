// ./run experiment NAME: one row of the comparison by itself.
import { PEFT_TYPES } from "../lib/adapters/methods.ts";
import { InputError } from "../lib/errors.ts";
import { dryRunText } from "../lib/report/estimate_table.ts";
import { publishStudy } from "../lib/report/publish.ts";
import { estimateStudy } from "../lib/study/dry_run.ts";
import { adapterExperiment, type LoneExperiment } from "../lib/study/experiment.ts";
import { runCommand } from "../lib/study/main.ts";
import { DEFAULTS, resolveOptions } from "../lib/study/schema.ts";
import { runStudy } from "../lib/study/study.ts";
import { commands } from "./commands.ts";
import { full } from "./full.ts";
import { lora_128 } from "./lora_128.ts";
import { lora_16 } from "./lora_16.ts";
import { lora_256 } from "./lora_256.ts";
import { lora_32 } from "./lora_32.ts";
import { lora_64 } from "./lora_64.ts";
import { peft } from "./peft.ts";
import { vanilla } from "./vanilla.ts";

/** The experiments by the names that the command takes. */
const experiments: Readonly<Record<string, LoneExperiment>> = {
  vanilla,
  peft,
  full,
  lora_16,
  lora_32,
  lora_64,
  lora_128,
  lora_256,
};

/** The experiment of a name; adapters of any other method and rank have the values of `lora_16`. */
function byName(name: string): LoneExperiment {
  if (Object.hasOwn(experiments, name)) return experiments[name];
  const [, peftType, rank] = /^([a-z]+)_(\d+)$/.exec(name) ?? [];
  if (PEFT_TYPES.includes(peftType) && Number(rank) >= 1) {
    return { ...lora_16, experiment: adapterExperiment(Number(rank), { ...DEFAULTS, peftType }) };
  }
  throw new InputError(
    `there is no experiment ${name}: name ${Object.keys(experiments).join(", ")} or ${
      PEFT_TYPES.map((type) => `${type}_<rank>`).join(" or ")
    }`,
  );
}

await runCommand(commands.experiment, async ({ argument, given, line: command }) => {
  const { experiment, values } = byName(argument);
  const options = resolveOptions(given, values);
  const rows = [experiment];
  if (options.dryRun) {
    console.log(dryRunText(await estimateStudy(rows, options, console.log)));
  } else await runStudy(rows, { options, command, publish: publishStudy });
});
