import { InputError } from "../errors.ts";
import type { SliceSet } from "./slices.ts";

/**
 * The slices of several sets as one, which reads each from its own. Sets may be of one data set, such as
 * its slices with tumour and those without.
 *
 * @param first Set whose data set crop and labels are those of the whole.
 * @throws {InputError} if two data sets have a case of the same name.
 */
export function joinSlices(first: SliceSet, ...others: readonly SliceSet[]): SliceSet {
  const sets = [first, ...others];
  const readers = new Map<string, SliceSet>();
  const roots = new Map<string, string>();
  const fingerprints = new Map<string, string>();
  for (const set of sets) {
    const { root } = set.dataset;
    for (const [id, fingerprint] of set.fingerprints) {
      if ((roots.get(id) ?? root) !== root) {
        throw new InputError(
          `case ${id} is in ${roots.get(id)} and in ${root}: rename one of them`,
        );
      }
      roots.set(id, root);
      const other = fingerprints.get(id);
      fingerprints.set(id, other === undefined ? fingerprint : `${other} ${fingerprint}`);
    }
    for (const { id } of set.refs) readers.set(id, set);
  }
  return {
    dataset: first.dataset,
    refs: sets.flatMap(({ refs }) => refs),
    fingerprints,
    crop: first.crop,
    notes: sets.flatMap(({ notes }) => notes),
    labels: first.labels,
    // A slice of none of them is refused by the first.
    read: (ref) => (readers.get(ref.id) ?? first).read(ref),
  };
}
