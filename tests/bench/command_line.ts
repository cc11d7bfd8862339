import { parseArgs } from "@std/cli/parse-args";
import { InputError } from "../../lib/errors.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { runMain } from "../../lib/study/main.ts";
import { writeRecord } from "./record.ts";
import { type Model, MODEL_NAMES } from "./training.ts";

/** Load averages above it mean that figures are those of a shared machine. */
export const BUSY = 0.5;

/** Refuses an option that nobody asked for. */
export function unknownOption(option: string): never {
  throw new InputError(`there is no option ${option.split("=")[0]}: --help lists them`);
}

/** A whole number above 0 from an option. */
export function readCount(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new InputError(`--${name} ${text} must be a whole number above 0`);
}

/** The side of an input, which the models take in patches of 16 pixels and halve twice more. */
export function readSide(text: string): number {
  const side = readCount("side", text);
  if (side % 64 !== 0) throw new InputError(`--side ${side} must be a multiple of 64`);
  return side;
}

/** A model that is benchmarked. */
export function readModel(text: string): Model {
  if (Object.hasOwn(MODEL_NAMES, text)) return text as Model;
  throw new InputError(`there is no model ${text}: choose ${Object.keys(MODEL_NAMES).join(", ")}`);
}

/** One of several words. */
export function readChoice<Word extends string>(
  name: string,
  text: string,
  words: readonly Word[],
): Word {
  const word = words.find((word) => word === text);
  if (word) return word;
  throw new InputError(`there is no ${name} ${text}: choose ${words.join(", ")}`);
}

/**
 * The Python that an option names.
 *
 * @throws {InputError} if it does not run or has no numpy.
 */
export async function readPython(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  const remedy = "name a Python with the packages of tests/reference/requirements.txt";
  try {
    const run = new Deno.Command(path, { args: ["-c", "import numpy"], stderr: "null" });
    const { success } = await run.output();
    if (success) return path;
  } catch (error) {
    throw new InputError(
      `--python ${path} cannot be run (${(error as Error).message}): ${remedy}`,
    );
  }
  throw new InputError(`--python ${path} has no numpy: ${remedy}`);
}

/** The load averages, with a warning if somebody else is at work. */
export function loadAtStart(): number[] {
  const load = Deno.loadavg();
  if (load[0] > BUSY) {
    console.error(`warning: the load average is ${load[0].toFixed(2)}: figures will be too slow`);
  }
  return load;
}

/** The command for the record, without the path of Python, which is this machine's own affair. */
export function commandText(task: string, python: string | undefined): string {
  const args = Deno.args.map((arg) => python ? arg.replace(python, "PATH") : arg);
  return [`deno task ${task}`, ...args].join(" ");
}

/** A benchmark that was asked for: its options as they were read, and where its figures go. */
export interface Bench<Part extends string> {
  readonly gpu: Gpu;
  /** The one part that is wanted; undefined for all. */
  readonly only: Part | undefined;
  readonly model: Model | undefined;
  readonly side: number | undefined;
  /** True if the slow ones are wanted too. */
  readonly long: boolean;
  readonly python: string | undefined;
  readonly rounds: number;
  /** Adds figures to the record and prints their table: what was measured is not lost if more fails. */
  add(name: string, figures: unknown, table: string): Promise<void>;
}

/** Runs a benchmark by its command line. */
export function runBench<Part extends string>(
  task: string,
  { usage, parts, rounds }: { usage: string; parts: readonly Part[]; rounds: string },
  work: (bench: Bench<Part>) => Promise<void>,
): Promise<void> {
  return runMain(async () => {
    const options = parseArgs(Deno.args, {
      string: ["only", "model", "side", "python", "rounds", "json"],
      boolean: ["long", "help"],
      default: { rounds },
      unknown: unknownOption,
    });
    if (options.help) return console.log(usage);
    const { json, long, only, model, side } = options;
    const python = await readPython(options.python);
    const read = {
      only: only === undefined ? undefined : readChoice("part", only, parts),
      model: model === undefined ? undefined : readModel(model),
      side: side === undefined ? undefined : readSide(side),
      long,
      python,
      rounds: readCount("rounds", options.rounds),
    };
    const load = loadAtStart();
    const results: Record<string, unknown> = {};
    const command = commandText(task, python);
    using gpu = await Gpu.open();
    console.log(`${gpu.info.name}, Deno ${Deno.version.deno}, load ${load[0].toFixed(2)}\n`);
    await work({
      ...read,
      gpu,
      add: async (name, figures, table) => {
        results[name] = figures;
        await writeRecord(gpu.info, { command, loadAtStart: load, results, json });
        console.log(table + "\n");
      },
    });
  });
}
