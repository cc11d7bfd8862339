// ./run experiments: every row of the comparison, then the table.
import { publishStudy } from "../lib/report/publish.ts";
import { dryRunText } from "../lib/report/estimate_table.ts";
import { estimateStudy } from "../lib/study/dry_run.ts";
import { runCommand } from "../lib/study/main.ts";
import { resolveOptions, submitOptionsOf } from "../lib/study/schema.ts";
import { planStudy, resumeStudy, runStudy } from "../lib/study/study.ts";
import { submitStudy } from "../lib/study/submit.ts";
import { commands } from "./commands.ts";
import { studyOf } from "./study_rows.ts";

await runCommand(commands.experiments, async ({ given, line: command }) => {
  const { rows, options } = studyOf(given);
  const engine = submitOptionsOf(given);
  if (options.resume !== null) {
    await resumeStudy(options, publishStudy);
  } else if (options.dryRun) {
    console.log(dryRunText(await estimateStudy(rows, options, console.log)));
  } else if (engine.engine !== null) {
    const path = await planStudy(rows, { options, command, estimate: null });
    await submitStudy(path, {
      options: resolveOptions({ resume: path }),
      engine,
      failedAlone: false,
      publish: publishStudy,
    });
  } else await runStudy(rows, { options, command, publish: publishStudy });
});
