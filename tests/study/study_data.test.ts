import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { DEFAULTS } from "../../lib/study/schema.ts";
import { dataHashes } from "../../lib/study/resume.ts";
import { openStudyData } from "../../lib/study/study_data.ts";
import { cacheIn, inTemporaryFolder, writeCase } from "../data/temporary.ts";

/** Changes the header of a compressed NIfTI file. */
async function edit(path: string, change: (view: DataView) => void): Promise<void> {
  const bytes = new Uint8Array(gunzipSync(await Deno.readFile(path)));
  change(new DataView(bytes.buffer));
  await Deno.writeFile(path, gzipSync(bytes));
}

Deno.test("a study says whose the cases are, what is left aside, odd files and its labels, cached or not", () =>
  inTemporaryFolder(async (root) => {
    using _ = cacheIn(join(root, "cache"));
    const data = join(root, "data");
    const ids = ["BraTS-MEN-1-0", "BraTS-MEN-1-1", "BraTS-MEN-2-0", "BraTS-MEN-3-0"];
    for (const id of ids) await writeCase(data, { id });
    for (const id of ids.slice(0, 2)) {
      await edit(join(data, id, `${id}-t1c.nii.gz`), (view) => view.setFloat32(80, 10, true));
    }
    await Deno.writeTextFile(join(data, "Thumbs.db"), "");
    const said = async (options = {}) => {
      const lines: string[] = [];
      const config = { ...DEFAULTS, data, minTumourVoxels: 1, ...options };
      const { parts, slices } = await openStudyData(config, (line) => lines.push(line));
      const patients = [parts.train, parts.validation, parts.test].map((refs) =>
        new Set(refs.map(({ patient }) => patient)).size
      );
      return { lines, patients, hashes: dataHashes(config, slices) };
    };
    const first = await said();
    assertEquals(first.lines.slice(0, 4), [
      "data: 3 patients in 4 cases (by BraTS names).",
      "Left aside in data: Thumbs.db is of no format that is read.",
      "Note: BraTS-MEN-1-0-t1c.nii.gz and 1 more: its pixdim (10 x 2 x 3 mm) and its sform (1 x 2 x 3 mm) " +
      "differ: the sform is used",
      "Labels: brats2023 (BraTS 2023: 1 non-enhancing core, 2 oedema, 3 enhancing), by the names of the cases.",
    ]);
    assertEquals(
      /^data: 16 slices; using/.test(first.lines[4]),
      true,
    );
    assertEquals(first.patients, [1, 1, 1]);
    assertEquals(await said(), first);
    await Deno.writeTextFile(
      join(root, "p.json"),
      JSON.stringify(Object.fromEntries(ids.map((id) => [id, id]))),
    );
    const each = await said({ patients: join(root, "p.json"), labels: "brats2024" });
    assertEquals(each.patients, [2, 1, 1]);
    assertEquals(/^Labels: brats2024 \(.*\)\.$/.test(each.lines[3]), true, each.lines[3]);
    assertEquals(Object.keys(first.hashes), ids);
    await Deno.writeTextFile(
      join(root, "p.json"),
      JSON.stringify(Object.fromEntries(ids.map((id, i) => [id, i]))),
    );
    const others = await said({ patients: join(root, "p.json"), labels: "brats2024" });
    const changed = Object.keys(each.hashes).filter((key) =>
      each.hashes[key] !== others.hashes[key]
    );
    assertEquals(changed, ["--patients"]);
  }));

Deno.test("counterfactuals are made of their own part, to train and to validate on; none is tested on", () =>
  inTemporaryFolder(async (root) => {
    using _ = cacheIn(join(root, "cache"));
    const [data, healthy] = [join(root, "data"), join(root, "healthy")];
    // A head with two sides, and a tumour on the left one.
    const head = (x: number, y: number) => Math.hypot(x - 16, y - 15) < 13 ? 100 + y : 0;
    const tumour = (x: number, y: number) => Number(Math.hypot(x - 10, y - 15) < 4);
    const shape: [number, number, number] = [33, 30, 2];
    for (let i = 0; i < 6; i++) {
      const image = (x: number, y: number) => head(x, y) + 20 * tumour(x, y) + i;
      await writeCase(data, { id: `A-TUM-${i}`, shape, image, seg: tumour });
      await writeCase(healthy, { id: `A-NONE-${i}`, shape, image: head, seg: () => 0 });
    }
    const config = { ...DEFAULTS, data, healthy, healthyShare: 0.5, minTumourVoxels: 1 };
    const plain = await openStudyData(config, () => {});
    const lines: string[] = [];
    const { parts, healthy: free, slices } = await openStudyData(
      { ...config, counterfactuals: true },
      (line) => lines.push(line),
    );
    assertEquals([parts.test, free.test], [plain.parts.test, plain.healthy.test]);
    for (const part of ["train", "validation"] as const) {
      const patients = new Set(plain.parts[part].map(({ patient }) => patient));
      const hosts = new Set(plain.healthy[part].map(({ id }) => id));
      const pasted = parts[part].slice(plain.parts[part].length);
      assertEquals(pasted.length, hosts.size);
      for (const ref of pasted) {
        assert(patients.has(ref.patient) && hosts.has(ref.id.split(":in:")[1]), ref.id);
        assert((await slices.read(ref)).mask.some(Boolean));
      }
      const mirrored = free[part].slice(plain.healthy[part].length);
      assertEquals(
        mirrored.map(({ id }) => id),
        plain.parts[part].map(({ id }) => `${id}:mirrored`),
      );
      for (const ref of mirrored) assert(!(await slices.read(ref)).mask.some(Boolean));
    }
    assertEquals(lines.filter((line) => line.startsWith("Counterfactuals of the")).length, 2);
  }));
