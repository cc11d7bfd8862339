import { commands } from "../../experiments/commands.ts";
import { sweeps } from "../../experiments/sweeps/mod.ts";
import { parseOptions } from "../../lib/study/command_line.ts";
import { type Options, resolveOptions } from "../../lib/study/schema.ts";

/** A study as `./run experiments` understands these arguments. */
export function readOptions(args: readonly string[]): Options {
  const { given } = parseOptions(args, commands.experiments.fields);
  return resolveOptions(given, given.sweep ? sweeps[given.sweep].values : {});
}
