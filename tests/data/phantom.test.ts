import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  assertLess,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import { openDataset } from "../../lib/data/sources/brats.ts";
import { readNifti } from "../../lib/formats/nifti.ts";
import { PHANTOM_SET, phantomDataset } from "../../lib/data/phantom.ts";
import { falxAt, readAnatomy } from "../../lib/data/phantom/anatomy.ts";
import { distanceTo } from "../../lib/data/distance.ts";
import { sample } from "../../lib/data/phantom/grid.ts";
import { simulatePatient } from "../../lib/data/phantom/patient.ts";
import { Tumour } from "../../lib/data/phantom/tumour.ts";
import type { Volume } from "../../lib/formats/volume.ts";
import { InputError } from "../../lib/errors.ts";
import { Random } from "../../lib/random.ts";

const anatomy = await readAnatomy();
const tumours = Array.from({ length: 60 }, (_, i) => new Tumour(anatomy, new Random(i)));
const scans = [1, 2, 3, 4].map((i) => simulatePatient(anatomy, 2, new Random(`patient ${i}`)));

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function names(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(folder)) found.push(entry.name);
  return found;
}

/** Calls back for each voxel with its index and those of its six neighbours. */
function forEachInside(
  { shape: [nx, ny, nz] }: Volume,
  visit: (at: number, neighbours: number[]) => void,
): void {
  for (let k = 1; k < nz - 1; k++) {
    for (let j = 1; j < ny - 1; j++) {
      for (let i = 1; i < nx - 1; i++) {
        const at = i + nx * (j + ny * k);
        visit(at, [at - 1, at + 1, at - nx, at + nx, at - nx * ny, at + nx * ny]);
      }
    }
  }
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

Deno.test("the phantom goes through the reader of every data set", () =>
  withFolder(async (folder) => {
    const seen: number[] = [];
    const root = await phantomDataset({
      patients: 2,
      spacing: 3,
      folder,
      onProgress: (done) => seen.push(done),
    });
    assertEquals(seen, [1, 2]);
    const { cases } = await openDataset(root, { modality: "t1c" });
    assertEquals(cases.map(({ id, patient }) => ({ id, patient })), [
      { id: `${PHANTOM_SET}-00001-000`, patient: `${PHANTOM_SET}-00001` },
      { id: `${PHANTOM_SET}-00002-000`, patient: `${PHANTOM_SET}-00002` },
    ]);
    for (const { image, seg } of cases) {
      const [t1c, labels] = [await readNifti(image), await readNifti(seg)];
      assertEquals([...t1c.shape], [64, 64, 25]);
      assertEquals([...labels.shape], [64, 64, 25]);
      assertEquals([...t1c.spacing], [3, 3, 6]);
      assertEquals(labels.affine, t1c.affine);
      assert(labels.data.every((label) => [0, 1, 2, 3].includes(label)));
      assertGreater(labels.data.filter((label) => label === 3).length, 10);
    }
  }));

Deno.test("equal seeds give equal bytes, however many patients there are, and other seeds do not", () =>
  withFolder(async (folder) => {
    const make = (name: string, patients: number, seed: number) =>
      phantomDataset({ patients, seed, spacing: 4, folder: join(folder, name) });
    const roots = [await make("a", 1, 5), await make("b", 2, 5), await make("c", 1, 6)];
    for (const kind of ["t1c", "seg"]) {
      const file = `${PHANTOM_SET}-00001-000/${PHANTOM_SET}-00001-000-${kind}.nii.gz`;
      const [a, b, c] = await Promise.all(roots.map((root) => Deno.readFile(join(root, file))));
      assertEquals(a, b);
      assertNotEquals(a, c);
    }
  }));

Deno.test("a finished phantom is used again, and an interrupted one is not", () =>
  withFolder(async (folder) => {
    const options = { patients: 2, spacing: 4, folder };
    const interrupted = phantomDataset({
      ...options,
      onProgress: () => {
        throw new Error("interrupted");
      },
    });
    await assertRejects(() => interrupted, Error, "interrupted");
    assertEquals(await names(folder), []);

    // What a killed process leaves behind: a set under another name, one case short.
    const left = join(folder, "phantom-v1-2-patients-seed-0-4mm.killed.tmp");
    await Deno.mkdir(join(left, `${PHANTOM_SET}-00001-000`), { recursive: true });
    const root = await phantomDataset(options);
    assertNotEquals(root, left);
    assertEquals((await names(root)).length, 2);
    const built: number[] = [];
    const again = await phantomDataset({ ...options, onProgress: (done) => built.push(done) });
    assertEquals(again, root);
    assertEquals(built, []);
    assertEquals((await names(folder)).length, 2);
  }));

Deno.test("two builds at once end in one whole phantom", () =>
  withFolder(async (folder) => {
    const options = { patients: 1, spacing: 4, folder };
    const [a, b] = await Promise.all([phantomDataset(options), phantomDataset(options)]);
    assertEquals(a, b);
    assertEquals((await names(folder)).length, 1);
    assertEquals((await openDataset(a, { modality: "t1c" })).cases.length, 1);
  }));

Deno.test("impossible options and folders are input errors", () =>
  withFolder(async (folder) => {
    await assertRejects(() => phantomDataset({ patients: 0, folder }), InputError, "1 to 9999");
    await assertRejects(() => phantomDataset({ spacing: NaN, folder }), InputError, "0.5 to 4");
    await Deno.writeTextFile(join(folder, "file"), "");
    await assertRejects(
      () => phantomDataset({ patients: 1, spacing: 4, folder: join(folder, "file") }),
      InputError,
      "choose a folder that can be written to",
    );
  }));

Deno.test("tumours grow inward from the skull's dura or from the falx", () => {
  const kinds = new Set<string>();
  for (const { site, radius, at } of tumours.map((t) => ({ ...bind(t), radius: t.radius }))) {
    kinds.add(site.kind);
    const [x, y, z] = site.base;
    if (site.kind === "falx") assertAlmostEquals(x, falxAt(anatomy, y, z), 1e-6);
    else assertLess(Math.abs(sample(anatomy.dura, x, y, z)), 0.6);
    const along = (mm: number) =>
      at(x + mm * site.inward[0], y + mm * site.inward[1], z + mm * site.inward[2]);
    assertLess(along(2).border, 0); // tumour at the dura,
    assertGreater(along(-3).border, 0); // none beyond it,
    assertGreater(along(3 * radius).border, 0); // brain behind it
  }
  assertEquals([...kinds].sort(), ["convexity", "falx", "skull base"]);
});

function bind(tumour: Tumour) {
  return {
    site: tumour.site,
    at: (x: number, y: number, z: number) => ({ ...tumour.at(x, y, z) }),
  };
}

Deno.test("the brain beside a tumour comes from nearer its base, the far brain from its place", () => {
  const origin = new Float64Array(3);
  for (const tumour of tumours) {
    const { base, inward } = tumour.site;
    const moved = [2, 8].map((radii) => {
      const mm = radii * tumour.radius;
      tumour.before(
        base[0] + mm * inward[0],
        base[1] + mm * inward[1],
        base[2] + mm * inward[2],
        origin,
      );
      return mm - Math.hypot(origin[0] - base[0], origin[1] - base[1], origin[2] - base[2]);
    });
    assertGreater(moved[0], 0.5);
    assertLess(moved[1], 0.15 * moved[0] + 0.1);
  }
});

Deno.test("each tumour is one piece, enhances, and touches the brain's edge unless it grows from the falx", () => {
  for (const { t1c, seg, tumour } of scans) {
    const tumourVoxels: number[] = [];
    const brain: number[] = [];
    let atEdge = 0;
    forEachInside(seg, (at, neighbours) => {
      if (seg.data[at] === 3) {
        tumourVoxels.push(t1c.data[at]);
        if (neighbours.some((n) => t1c.data[n] === 0)) atEdge++;
      } else if (seg.data[at] === 0 && t1c.data[at] > 0) brain.push(t1c.data[at]);
    });
    assertGreater(mean(tumourVoxels), 1.1 * mean(brain));
    if (tumour.site.kind !== "falx") assertGreater(atEdge, 5);
    assertEquals(pieces(seg), 1);
  }
});

/** The number of connected pieces of voxels labelled 1 or 3. */
function pieces(seg: Volume): number {
  const left = seg.data.map((label) => label === 1 || label === 3 ? 1 : 0);
  const [nx, ny] = seg.shape;
  let count = 0;
  for (let start = 0; start < left.length; start++) {
    if (!left[start]) continue;
    count++;
    left[start] = 0;
    for (const queue = [start]; queue.length > 0;) {
      const at = queue.pop()!;
      for (const n of [at - 1, at + 1, at - nx, at + nx, at - nx * ny, at + nx * ny]) {
        if (!left[n]) continue;
        left[n] = 0;
        queue.push(n);
      }
    }
  }
  return count;
}

Deno.test("the label's border is where brightness is half-way from brain to tumour", () => {
  for (const { t1c, seg } of scans) {
    const [nx] = seg.shape;
    const profile: number[][] = [[], [], [], []]; // 2 and 1 voxels inside, 1 and 2 outside
    forEachInside(seg, (at) => {
      for (const step of [-1, 1, -nx, nx]) {
        const line = [-1, 0, 1, 2].map((s) => at + s * step);
        const labels = line.map((v) => seg.data[v]);
        const brightness = line.map((v) => t1c.data[v]);
        if (labels.join("") !== "3300" || brightness.includes(0)) continue;
        brightness.forEach((value, i) => profile[i].push(value));
      }
    });
    const [deep, inside, outside, far] = profile.map(mean);
    assertGreater(profile[0].length, 50);
    const middle = (deep + far) / 2;
    assertGreater(inside, middle);
    assertLess(outside, middle);
  }
});

Deno.test("patients differ in size, site and brightness", () => {
  const radii = tumours.map((tumour) => tumour.radius);
  assertGreater(Math.max(...radii), 1.8 * Math.min(...radii));
  assertGreater(Math.min(...radii), 7.9);
  assertLess(Math.max(...radii), 26.1);
  const levels = scans.map(({ t1c }) => mean([...t1c.data.filter((value) => value > 0)]));
  assertGreater(Math.max(...levels) - Math.min(...levels), 3);
});

Deno.test("the distance transform agrees with exhaustive search", () => {
  const random = new Random("distance");
  const [nx, ny, nz] = [7, 5, 6];
  const set = Uint8Array.from({ length: nx * ny * nz }, () => random.uniform() < 0.05 ? 1 : 0);
  set[17] = 1;
  const distance = distanceTo(set, [nx, ny, nz]);
  const place = (v: number) => [v % nx, Math.floor(v / nx) % ny, Math.floor(v / (nx * ny))];
  for (let v = 0; v < set.length; v++) {
    let nearest = Infinity;
    for (let w = 0; w < set.length; w++) {
      if (!set[w]) continue;
      const [a, b] = [place(v), place(w)];
      nearest = Math.min(nearest, Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]));
    }
    assertAlmostEquals(distance[v], nearest, 1e-5);
  }
  assert(distanceTo(new Uint8Array(8), [2, 2, 2]).every((d) => d === Infinity));
});
