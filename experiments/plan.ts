// ./run experiments plan: the list of a study's tasks, with times and memory that were measured.
import { estimateText } from "../lib/report/estimate_table.ts";
import { estimateStudy } from "../lib/study/dry_run.ts";
import { runCommand } from "../lib/study/main.ts";
import { planStudy } from "../lib/study/study.ts";
import { commands } from "./commands.ts";
import { studyOf } from "./study_rows.ts";

await runCommand(commands["experiments plan"], async ({ given, values: { untimed }, line }) => {
  const { rows, options } = studyOf(given);
  const measure = async () => {
    const estimate = await estimateStudy(rows, options, console.log);
    console.log(`${estimateText(estimate)}\n`);
    return estimate;
  };
  // The three commands come to what the one does.
  const command = line.replace("experiments plan", "experiments");
  await planStudy(rows, { options, command, estimate: untimed ? null : measure });
});
