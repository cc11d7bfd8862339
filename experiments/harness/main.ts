import { InputError } from "../../lib/errors.ts";

/**
 * Runs a program: bad input ends it with one sentence and exit code 1; anything else that goes wrong
 * is a fault of ours and keeps its stack trace.
 */
export async function runMain(program: () => Promise<void>): Promise<void> {
  try {
    await program();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error(`error: ${error.message}`);
    Deno.exit(1);
  }
}
