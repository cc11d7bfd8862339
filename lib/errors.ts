/**
 * Bad input from outside the program: a file, an option, a value. The message is one sentence that
 * names the culprit and the remedy; command-line entry points print it alone, without a stack trace,
 * and exit with code 1.
 */
export class InputError extends Error {
  /** Tells it from other errors in messages. */
  override readonly name = "InputError";
}

/** Longest text of a file that a message quotes. */
const MAXIMUM_EXCERPT = 200;

/**
 * A text that comes from a file, such as a name, made fit for a message: without line breaks and other
 * control characters, and cut where it is long.
 */
export function excerpt(text: string): string {
  // deno-lint-ignore no-control-regex
  const plain = text.slice(0, MAXIMUM_EXCERPT).replaceAll(/[\x00-\x1f\x7f-\x9f]/g, "\ufffd");
  return text.length > MAXIMUM_EXCERPT ? `${plain}…` : plain;
}
