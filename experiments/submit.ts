// ./run experiments submit STUDY: hands the tasks that are left to an engine.
import { publishStudy } from "../lib/report/publish.ts";
import { runCommand } from "../lib/study/main.ts";
import { resolveOptions, submitOptionsOf } from "../lib/study/schema.ts";
import { submitStudy } from "../lib/study/submit.ts";
import { commands } from "./commands.ts";

await runCommand(
  commands["experiments submit"],
  async ({ argument, given, values: { failed } }) => {
    await submitStudy(argument, {
      options: resolveOptions({ ...given, resume: argument }),
      engine: submitOptionsOf(given),
      failedAlone: failed,
      publish: publishStudy,
    });
  },
);
