import { InputError } from "../lib/errors.ts";
import { publishStudy } from "../lib/report/publish.ts";
import { commandLine, helpText } from "../lib/study/command_line.ts";
import { runStudies } from "../lib/study/cross_validation.ts";
import { type Experiment, withWiseFt } from "../lib/study/experiment.ts";
import { runMain } from "../lib/study/main.ts";
import { parseOptions, studyOptions } from "../lib/study/schema.ts";

/** Runs one experiment by itself, with the options of the command line. */
export async function runAlone(experiment: Experiment, args: readonly string[]): Promise<void> {
  await runMain(async () => {
    const options = parseOptions(args);
    const fields = studyOptions();
    const { name } = experiment;
    if (options.help) {
      const all = options.positional[0] === "all";
      return console.log(helpText(`usage: ./run experiment ${name} [options]`, { fields, all }));
    }
    if (options.positional.length > 0) {
      throw new InputError(
        `unexpected argument ${options.positional[0]}: --help lists the options`,
      );
    }
    if (options.sweep !== null) {
      throw new InputError("--sweep goes with ./run experiments: it has its own rows");
    }
    if (options.resume !== null) {
      throw new InputError(
        `a study goes on with all its runs: ./run experiments --resume ${options.resume}`,
      );
    }
    await runStudies(withWiseFt([experiment], options.wiseFt), {
      options,
      command: commandLine(`experiment ${name}`, { args, fields }),
      publish: publishStudy,
    });
  });
}
