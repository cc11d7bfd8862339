/**
 * Bad input from outside the program: a file, an option, a value. The message is one sentence that
 * names the culprit and the remedy; command-line entry points print it alone, without a stack trace,
 * and exit with code 1.
 */
export class InputError extends Error {
  /** Tells it from other errors in messages. */
  override readonly name = "InputError";
}
