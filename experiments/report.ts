// ./run report STUDY: its table from its records, and the report as one HTML page and as Markdown.
import { writeReport } from "../lib/report/publish.ts";
import { runCommand } from "../lib/study/main.ts";
import { commands } from "./commands.ts";

await runCommand(commands.report, async ({ argument, values: { pictures } }) => {
  await writeReport(argument, { pictures, log: console.log });
});
