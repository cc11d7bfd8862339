// ./run experiments gather STUDY: the table over all tasks of a study, or which of them are missing.
import { publishStudy } from "../lib/report/publish.ts";
import { runCommand } from "../lib/study/main.ts";
import { resolveOptions } from "../lib/study/schema.ts";
import { gatherStudy } from "../lib/study/study.ts";
import { commands } from "./commands.ts";

await runCommand(commands["experiments gather"], async ({ argument, given }) => {
  const options = resolveOptions({ ...given, resume: argument });
  await gatherStudy(argument, { options, publish: publishStudy });
});
