// deno task experiments: every row of the comparison, then the table.
import { publishStudy } from "../lib/report/publish.ts";
import { baselines, loraExperiment, withWiseFt } from "../lib/study/experiment.ts";
import { runMain } from "../lib/study/main.ts";
import { commandLine, helpText } from "../lib/study/command_line.ts";
import { parseOptions, studyOptions } from "../lib/study/schema.ts";
import { runStudies } from "../lib/study/cross_validation.ts";
import { resumeStudy } from "../lib/study/study.ts";
import { InputError } from "../lib/errors.ts";
import { sweeps } from "./sweeps/mod.ts";

await runMain(async () => {
  const options = parseOptions(Deno.args, sweeps);
  const fields = studyOptions(sweeps);
  if (options.help) {
    const all = options.positional[0] === "all";
    return console.log(helpText("usage: ./run experiments [options]", { fields, all }));
  }
  if (options.positional.length > 0) {
    throw new InputError(`unexpected argument ${options.positional[0]}: --help lists the options`);
  }
  if (options.resume !== null) {
    await resumeStudy(options, publishStudy);
    return;
  }
  const { sweep, config } = options;
  const experiments = sweep ? sweep.experiments(config) : [
    ...options.baselines.map((name) => baselines[name]),
    ...options.ranks.map(loraExperiment),
  ];
  await runStudies(withWiseFt(experiments, options.wiseFt), {
    options,
    command: commandLine("experiments", { args: Deno.args, fields }),
    publish: publishStudy,
  });
});
