// deno task experiments: every row of the comparison, then the table.
import { loraExperiment } from "./harness/config.ts";
import { runMain } from "./harness/main.ts";
import { commandLine, helpText, parseOptions } from "./harness/options.ts";
import { runStudies } from "./harness/cross_validation.ts";
import { resumeStudy } from "./harness/study.ts";
import { experiment as peft } from "./peft.ts";
import { experiment as vanilla } from "./vanilla.ts";
import { InputError } from "../lib/errors.ts";

await runMain(async () => {
  const options = parseOptions(Deno.args);
  if (options.help) return console.log(helpText("./run experiments [options]"));
  if (options.positional.length > 0) {
    throw new InputError(`unexpected argument ${options.positional[0]}: --help lists the options`);
  }
  if (options.resume !== null) {
    await resumeStudy(options);
    return;
  }
  const experiments = [vanilla, peft, ...options.ranks.map(loraExperiment)];
  await runStudies(experiments, { options, command: commandLine("experiments", Deno.args) });
});
