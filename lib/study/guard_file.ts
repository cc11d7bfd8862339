/**
 * `guard.json`: says of a run that a guard has ended it, and why. Such a run has no summary, and no table
 * holds a number of it.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { GuardError, type GuardName } from "../evaluate/guards.ts";
import { readRunFile } from "./run_file.ts";

/** The file within a run's folder. */
export const GUARD_FILE = "guard.json";

const schema = v.object({
  guard: v.string(),
  step: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  message: v.string(),
});

/** The content of the file. */
export function formatGuard({ guard, step, message }: GuardError): string {
  return JSON.stringify({ guard, step, message }, null, 2) + "\n";
}

/**
 * What a guard has seen in a run; null if none has.
 *
 * @throws {InputError} if the file is damaged.
 */
export function readGuard(run: string): Promise<GuardError | null> {
  return readRunFile(run, {
    file: GUARD_FILE,
    parse: (text) => {
      const { guard, step, message } = v.parse(schema, JSON.parse(text));
      return new GuardError(guard as GuardName, message, step);
    },
  });
}

/** A run that a guard has ended. */
export interface CaughtRun {
  /** As tables would call it. */
  readonly name: string;
  /** Its folder. */
  readonly folder: string;
  /** What the guard has seen. */
  readonly error: GuardError;
}

/** The notes of a table that leaves runs out. */
export function guardNotes(caught: readonly CaughtRun[]): string[] {
  return caught.map(({ name, error }) =>
    `${name} is left out, ended by the guard ${error.guard}: ${error.message}`
  );
}

/**
 * Ends a study of which everything else is written.
 *
 * @throws {GuardError} if a guard has ended a run.
 */
export function requireNoneCaught(caught: readonly CaughtRun[]): void {
  if (caught.length === 0) return;
  const [{ name, folder, error }, ...others] = caught;
  const more = others.length > 0
    ? `; ${others.map((other) => other.name).join(", ")} ended likewise`
    : "";
  throw new GuardError(
    error.guard,
    `${error.message} (${name}, in ${join(folder, GUARD_FILE)}${more})`,
    error.step,
  );
}
