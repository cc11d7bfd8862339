// ./run experiments task STUDY N: one task of a study that was planned.
import { excerpt, InputError } from "../lib/errors.ts";
import { SCHEDULER, variable } from "../lib/study/lease.ts";
import { runCommand } from "../lib/study/main.ts";
import { resolveOptions } from "../lib/study/schema.ts";
import { runStudyTask } from "../lib/study/study.ts";
import { commands } from "./commands.ts";

await runCommand(commands["experiments task"], async ({ positional, given }) => {
  const [study, number = variable(SCHEDULER.task), surplus] = positional;
  if (number === null || surplus !== undefined || !/^\d{1,9}$/.test(number)) {
    throw new InputError(
      `experiments task takes a study and the number of one task, from 1 (0 for what they share), not "${
        excerpt(positional.join(" "))
      }"`,
    );
  }
  const options = resolveOptions({ ...given, resume: study });
  await runStudyTask(study, { number: Number(number), options });
});
