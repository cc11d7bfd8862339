import fc from "fast-check";
import { InputError } from "../../../lib/errors.ts";
import type { Kind } from "../kind.ts";

/** Readers that do what none may do: whoever does not notice them notices nothing. */
const FAULTS: Readonly<Record<string, (folder: string) => void>> = {
  hang: () => {
    for (;;) { /* as long as it is let */ }
  },
  allocate: () => {
    new Uint8Array(3 * 2 ** 30);
  },
  grow: () => {
    for (const kept: unknown[] = [];;) kept.push(new Array(1e6).fill(0));
  },
  recurse: (folder) => FAULTS.recurse(folder),
  "throw another error": () => {
    throw new TypeError("x is not a function");
  },
  "say nothing": () => {
    throw new InputError("");
  },
  "name no file": () => {
    throw new InputError("something is wrong: repair it");
  },
  "hide an error": (folder) => {
    throw new InputError(`${folder} is damaged (Cannot read properties of null): get it again`);
  },
  "read elsewhere": () => {
    Deno.readTextFileSync("/etc/passwd");
  },
  "write elsewhere": () => {
    Deno.writeTextFileSync(`${Deno.cwd()}/samlora-escaped`, "");
  },
  "run a program": () => {
    new Deno.Command("true").outputSync();
  },
  "run code": () => {
    new Function("return 1")();
  },
  exit: () => Deno.exit(0),
  "refuse a sound file": (folder) => {
    throw new InputError(`${folder} is damaged: get it again`);
  },
};

/** The names of the faults. */
export const FAULT_NAMES: readonly string[] = Object.keys(FAULTS);

/** A kind whose reader has a fault. */
export function faulty(fault: string): Kind {
  const edits = fault === "refuse a sound file" ? [] : [fault];
  return {
    name: fault,
    cases: fc.constant({ edits, files: {} }),
    read: (folder) => Promise.resolve(folder).then(FAULTS[fault]),
  };
}
