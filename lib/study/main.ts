import { InputError } from "../errors.ts";
import { Interrupted } from "./interruption.ts";

/**
 * Runs a program: bad input ends it with one sentence and exit code 1, a signal with its own code;
 * anything else that goes wrong is a fault of ours and keeps its stack trace.
 */
export async function runMain(program: () => Promise<void>): Promise<void> {
  try {
    await program();
  } catch (error) {
    if (error instanceof Interrupted) {
      console.error(error.message);
      Deno.exit(error.exitCode);
    }
    if (!(error instanceof InputError)) throw error;
    console.error(`error: ${error.message}`);
    Deno.exit(1);
  }
}
