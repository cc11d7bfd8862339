import { InputError, visible } from "../errors.ts";
import { type Asked, type Command, type Fields, readCommand } from "./command_line.ts";
import { Interrupted, launcherOf } from "./interruption.ts";

/** Lets the console write nothing that a terminal obeys: names from files and folders may hold anything. */
function guardTerminal(): void {
  for (const name of ["log", "error"] as const) {
    const write = console[name];
    console[name] = (...values: unknown[]) =>
      write(...values.map((value) => typeof value === "string" ? visible(value) : value));
  }
}

/**
 * Runs a program: bad input ends it with one sentence and exit code 1, a signal with its own code;
 * anything else that goes wrong is a fault of ours and keeps its stack trace.
 */
export async function runMain(program: () => Promise<void>): Promise<void> {
  guardTerminal();
  try {
    await program();
  } catch (error) {
    if (error instanceof Interrupted) {
      console.error(error.message);
      Deno.exit(error.exitCode);
    }
    const isOurs = !(error instanceof InputError);
    console.error(`error: ${isOurs ? Deno.inspect(error) : error.message}`);
    Deno.exit(1);
  }
}

/** Milliseconds between looks at whether the launcher is still there. */
const WATCH = 1000;

/** Exit code of a program whose launcher has ended, as that of a SIGHUP. */
const ABANDONED = 129;

/**
 * Runs the program of a command with the arguments that this process was started with. A program that
 * saves nothing ends with its launcher; on Windows, which goes on naming a parent that has ended, it runs
 * to its own end.
 */
export async function runCommand<F extends Fields>(
  command: Command<F>,
  program: (asked: Asked<F>) => Promise<void>,
): Promise<void> {
  await runMain(async () => {
    const asked = readCommand(command, Deno.args);
    const launcher = command.saves ? null : launcherOf();
    if (launcher !== null) {
      const watch = () => Deno.ppid === launcher || Deno.exit(ABANDONED);
      Deno.unrefTimer(setInterval(watch, WATCH));
    }
    if (asked) await program(asked);
  });
}
