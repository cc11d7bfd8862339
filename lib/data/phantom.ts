/**
 * The embedded data set: real anatomy, simulated meningiomas. See {@linkcode phantomDataset}.
 *
 * @module
 */
import { join } from "node:path";
import { InputError } from "../errors.ts";
import { cacheDir, makeFolder, syncFolder } from "../fs.ts";
import { Random } from "../random.ts";
import { writeNifti } from "../formats/nifti.ts";
import { readAnatomy } from "./phantom/anatomy.ts";
import { simulatePatient } from "./phantom/patient.ts";

/** What the name of every simulated case begins with: whoever shows one must say "simulated". */
export const PHANTOM_SET = "PHANTOM-MEN";

/** Part of the cached folder's name: raise it whenever the same seed gives other voxels. */
const VERSION = 1;

/** Options of {@linkcode phantomDataset}. */
export interface PhantomOptions {
  /** How many patients to simulate, one scan each; default 24. */
  patients?: number;
  /** Patient `i` of a seed is the same whatever the number of patients; default 0. */
  seed?: number;
  /** Voxel size in the axial plane in mm, slices being twice as thick; default 1 (192 x 192 x 76). */
  spacing?: number;
  /** The folder that keeps finished sets; default `phantom` in the cache ({@linkcode cacheDir}). */
  folder?: string;
  /** Called after each patient. */
  onProgress?: (done: number, patients: number) => void;
}

/**
 * Makes a data set of simulated meningiomas, once: further calls with the same options find it in the
 * cache. The anatomy is the Colin27 T1 volume (skull-stripped, as BraTS is). Each patient has its own
 * deformation, contrast, bias field and noise, and one tumour grown from the skull's dura or the falx:
 * lobulated, enhancing, on a broad base, pushing the brain away; in some patients with a cleft of
 * fluid, a dural tail, a non-enhancing core or oedema. The tail is not part of the label. Sinuses,
 * veins, dura and plexus enhance, too.
 *
 * @returns The folder, laid out as BraTS-MEN is:
 * `PHANTOM-MEN-00001-000/PHANTOM-MEN-00001-000-{t1c,seg}.nii.gz`, labels 0 to 3.
 * @throws {InputError} if an option is out of range, the anatomy's package is not installed or the
 * folder cannot be written to.
 */
export async function phantomDataset(options: PhantomOptions = {}): Promise<string> {
  const { patients = 24, seed = 0, spacing = 1, folder = cacheDir("phantom") } = options;
  if (!Number.isInteger(patients) || patients < 1 || patients > 9999) {
    throw new InputError(`${patients} simulated patients cannot be made: ask for 1 to 9999`);
  }
  if (!(spacing >= 0.5 && spacing <= 4)) {
    throw new InputError(`a phantom cannot have voxels of ${spacing} mm: ask for 0.5 to 4`);
  }
  const finished = join(
    folder,
    `phantom-v${VERSION}-${patients}-patients-seed-${seed}-${spacing}mm`,
  );
  if (await exists(finished)) return finished;

  // Built under another name: what carries the final name is whole.
  const building = `${finished}.${crypto.randomUUID()}.tmp`;
  try {
    await makeFolder(building).catch((error) => refuse(folder, error));
    const anatomy = await readAnatomy();
    const random = new Random(`phantom ${VERSION} ${seed}`);
    for (let patient = 1; patient <= patients; patient++) {
      const { t1c, seg } = simulatePatient(anatomy, spacing, random.fork(`patient ${patient}`));
      const id = `${PHANTOM_SET}-${String(patient).padStart(5, "0")}-000`;
      await writeNifti(join(building, id, `${id}-t1c.nii.gz`), t1c, { datatype: "uint8" });
      await writeNifti(join(building, id, `${id}-seg.nii.gz`), seg, { datatype: "uint8" });
      options.onProgress?.(patient, patients);
    }
    await Deno.rename(building, finished).catch(async (error) => {
      // Another process may have been first, with the same set.
      if (!await exists(finished)) refuse(folder, error);
    });
    await syncFolder(folder);
  } finally {
    await Deno.remove(building, { recursive: true }).catch(() => {});
  }
  return finished;
}

function refuse(folder: string, error: unknown): never {
  const reason = error instanceof Error ? error.message : String(error);
  throw new InputError(
    `cannot write the phantom to ${folder} (${reason}): choose a folder that can be written to`,
  );
}

function exists(path: string): Promise<boolean> {
  return Deno.stat(path).then((info) => info.isDirectory, () => false);
}
