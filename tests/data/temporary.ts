import { join } from "node:path";
import { writeNifti } from "../../lib/data/nifti_file.ts";
import { createVolume } from "../../lib/formats/volume.ts";

/** Runs `body` with a folder of its own, which goes when it ends. */
export async function inTemporaryFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Makes a folder the cache of the code that a test file runs itself, until it is disposed of. No variable
 * of the environment changes: those belong to the process, which runs other test files at the same time.
 */
export function cacheIn(folder: string): Disposable {
  const { get } = Deno.env;
  Deno.env.get = (name) => name === "SAMLORA_CACHE" ? folder : get.call(Deno.env, name);
  return { [Symbol.dispose]: () => void (Deno.env.get = get) };
}

/** Options of {@linkcode writeCase}. */
export interface WriteCaseOptions {
  /** Case and file names' stem. */
  id: string;
  /** Voxels; default 12 x 10 x 6. */
  shape?: [number, number, number];
  /** The image's voxels; default a ramp of its own for each voxel. */
  image?: (x: number, y: number, z: number) => number;
  /** The labels; default a 4 x 3 block in slices 1 to 4. */
  seg?: (x: number, y: number, z: number) => number;
}

/** Writes one small case in BraTS' layout into `root`. */
export async function writeCase(root: string, options: WriteCaseOptions): Promise<void> {
  const { id, shape = [12, 10, 6] } = options;
  const image = options.image ?? ((x, y, z) => 1 + x + 12 * y + 5 * z);
  const seg = options.seg ??
    ((x, y, z) => x >= 3 && x < 7 && y >= 4 && y < 7 && z >= 1 && z <= 4 ? 1 : 0);
  const fill = (value: (x: number, y: number, z: number) => number) => {
    const data = new Float32Array(shape[0] * shape[1] * shape[2]);
    for (let z = 0, i = 0; z < shape[2]; z++) {
      for (let y = 0; y < shape[1]; y++) {
        for (let x = 0; x < shape[0]; x++, i++) data[i] = value(x, y, z);
      }
    }
    return createVolume(data, { shape, spacing: [1, 2, 3] });
  };
  const stem = join(root, id, id);
  await writeNifti(`${stem}-t1c.nii.gz`, fill(image), { datatype: "float32" });
  await writeNifti(`${stem}-seg.nii.gz`, fill(seg), { datatype: "uint8" });
}
