import type { Kind } from "../kind.ts";
import { nifti, niftiGz } from "./nifti.ts";

const KINDS: readonly Kind[] = [nifti, niftiGz];

/** The names of all kinds. */
export const KIND_NAMES: readonly string[] = KINDS.map(({ name }) => name);

/** The kind of a name. */
export function kindNamed(name: string): Kind {
  const kind = KINDS.find((candidate) => candidate.name === name);
  if (!kind) throw new RangeError(`there is no kind ${name}: ${KIND_NAMES.join(", ")}`);
  return kind;
}
