// ./run experiments: every row of the comparison, then the table.
import { publishStudy } from "../lib/report/publish.ts";
import { estimateText } from "../lib/report/estimate_table.ts";
import { estimateStudy } from "../lib/study/dry_run.ts";
import { adapterExperiments, baselines } from "../lib/study/experiment.ts";
import { runCommand } from "../lib/study/main.ts";
import { resolveOptions } from "../lib/study/schema.ts";
import { resumeStudy, runStudy } from "../lib/study/study.ts";
import { commands } from "./commands.ts";
import { sweeps } from "./sweeps/mod.ts";

await runCommand(commands.experiments, async ({ given, line: command }) => {
  const sweep = given.sweep ? sweeps[given.sweep] : null;
  const options = resolveOptions(given, sweep?.values);
  if (options.resume !== null) {
    await resumeStudy(options, publishStudy);
    return;
  }
  const rows = sweep ? sweep.experiments(options.config) : [
    ...options.baselines.map((name) => baselines[name]),
    ...adapterExperiments(options.config, options),
  ];
  if (options.dryRun) {
    console.log(estimateText(await estimateStudy(rows, options, console.log)));
  } else await runStudy(rows, { options, command, publish: publishStudy });
});
