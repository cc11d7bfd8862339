import { join } from "node:path";
import { excerpt, InputError } from "../../errors.ts";
import {
  type Case,
  list,
  type Listing,
  type Modality,
  MODALITY_NAMES,
  niftiCase,
  requirePlainName,
  type Source,
} from "./source.ts";

/**
 * BraTS' layout, a folder a case: `<case>/<case>-t1c.nii.gz` beside `<case>/<case>-seg.nii.gz`, or
 * with the older names (`<case>_t1ce.nii.gz`), compressed or not. Only folders that hold a NIfTI file
 * are cases.
 */
export const brats: Source = {
  name: "BraTS",
  pattern: "<case>/<case>-t1c.nii.gz with <case>/<case>-seg.nii.gz",
  recognises: () => true,
  cases: async ({ folder, shown, names }, modality) => {
    const cases: Case[] = [];
    for (const id of names) {
      if (!await isFolder(join(folder, id))) continue;
      const files = await list(join(folder, id), join(shown, excerpt(id)));
      if (!files.names.some((file) => /\.nii(\.gz)?$/.test(file))) continue;
      requirePlainName(id, shown);
      const find = (kind: Modality | "seg") => findFile(files, { id, kind, shown });
      cases.push(niftiCase({ id, image: find(modality), seg: find("seg") }));
    }
    return cases;
  },
};

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${excerpt(path)} (${excerpt(reason)}): repair or remove it`);
  }
}

/** The path of a case's image or segmentation. */
function findFile(
  { folder, names }: Listing,
  { id, kind, shown }: { id: string; kind: Modality | "seg"; shown: string },
): string {
  for (const suffix of kind === "seg" ? ["seg"] : MODALITY_NAMES[kind]) {
    for (const separator of ["-", "_"]) {
      for (const extension of [".nii.gz", ".nii"]) {
        const name = `${id}${separator}${suffix}${extension}`;
        if (names.includes(name)) return join(folder, name);
      }
    }
  }
  const file = kind === "seg" ? "segmentation" : `${kind} image`;
  throw new InputError(
    `case ${id} in ${shown} has no ${file}: add ${id}-${kind}.nii.gz or remove the case's folder`,
  );
}
