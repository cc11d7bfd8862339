/**
 * Bad input from outside the program: a file, an option, a value. The message is one sentence that
 * names the culprit and the remedy; command-line entry points print it alone, without a stack trace,
 * and exit with code 1.
 */
export class InputError extends Error {
  /** Tells it from other errors in messages. */
  override readonly name = "InputError";
}

/** True if an error says that the host has no memory for an array. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof RangeError && /alloc|array (buffer )?length/i.test(error.message);
}

/** Longest text of a file that a message quotes. */
const MAXIMUM_EXCERPT = 200;

/**
 * Characters that a terminal or a page obeys instead of showing them: controls but for line breaks and
 * tabs, and those that turn the direction of what follows.
 */
// deno-lint-ignore no-control-regex
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g;

/** A text that may hold anything made fit to be read: control characters become U+FFFD. */
export function visible(text: string): string {
  return text.toWellFormed().replaceAll(CONTROLS, "\ufffd");
}

/** A text without line breaks and other control characters. */
export function oneLine(text: string): string {
  return visible(text).replaceAll(/[\t\n]/g, "\ufffd");
}

/**
 * A text that comes from a file, such as a name, made fit for a message: without line breaks and other
 * control characters, and cut where it is long.
 */
export function excerpt(text: string): string {
  const plain = oneLine(text.slice(0, MAXIMUM_EXCERPT));
  return text.length > MAXIMUM_EXCERPT ? `${plain}…` : plain;
}

/** A word as a POSIX shell reads it, with control characters as bash and zsh do: it may be pasted. */
export function shellWord(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  if (!/\p{C}/u.test(word)) return `'${word.replaceAll("'", "'\\''")}'`;
  const bytes = (text: string) =>
    Array.from(
      new TextEncoder().encode(text),
      (byte) => `\\x${byte.toString(16).padStart(2, "0")}`,
    );
  return `$'${word.replaceAll(/[\\']/g, "\\$&").replaceAll(/\p{C}/gu, (c) => bytes(c).join(""))}'`;
}
