// deno task rehearsal [FEWER] [MORE]: a data set in the layout and size of BraTS-MEN, made up, goes through
// a dry run, slicing and a short epoch, as a user would start them; once with fewer cases (30) and once
// with more (300). Prints the time of slicing and the most memory that a process held, and fails if
// that grows with the number of cases. Linux alone; it takes about 4 MB of disk a case for its time.
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { encodeNifti } from "../lib/formats/nifti_writer.ts";
import { createVolume } from "../lib/formats/volume.ts";
import { writeFileAtomic } from "../lib/fs.ts";
import { Random } from "../lib/random.ts";
import { gridText } from "../lib/report/table.ts";
import { command } from "./experiments/command_line.ts";

const shape = [240, 240, 155] as const;
const [width, height, depth] = shape;

/**
 * Bytes by which a process with more cases may exceed one with fewer. Two runs alike differ by up to 90 MiB;
 * the slices of 270 cases more would take 900.
 */
const TOLERANCE = 192 * 2 ** 20;

/** Slices of a short epoch. */
const LIMITS = ["--max-train", "32", "--max-validation", "8", "--max-test", "8"];

/** Calls `visit` for each voxel within an ellipsoid, with its distance from the middle, 0..1. */
function ellipsoid(
  [cx, cy, cz]: readonly number[],
  [rx, ry, rz]: readonly number[],
  visit: (at: number, r: number, x: number, y: number, z: number) => void,
): void {
  const range = (
    c: number,
    r: number,
    size: number,
  ) => [Math.max(0, Math.ceil(c - r)), Math.min(size - 1, Math.floor(c + r))];
  const [[x0, x1], [y0, y1], [z0, z1]] = [
    range(cx, rx, width),
    range(cy, ry, height),
    range(cz, rz, depth),
  ];
  for (let z = z0; z <= z1; z++) {
    for (let y = y0; y <= y1; y++) {
      for (let x = x0; x <= x1; x++) {
        const r = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2;
        if (r <= 1) visit((z * height + y) * width + x, r, x, y, z);
      }
    }
  }
}

/** A head of smooth noise in few grey levels, so that it packs small and fast. */
function makeHead(): Float32Array {
  const head = new Float32Array(width * height * depth);
  ellipsoid([120, 120, 77], [70, 85, 65], (at, r, x, y, z) => {
    const noise = Math.sin(x / 9) * Math.cos(y / 11) + Math.sin((y + z) / 17) * Math.cos(x / 23);
    head[at] = 8 * Math.round((500 + 90 * noise - 200 * r) / 8);
  });
  return head;
}

/** Bytes before the voxels of a NIfTI file. */
const HEADER = 352;

/** Files of the head and of a segmentation without labels, which every case begins with. */
function makeFiles(): { t1c: Uint8Array<ArrayBuffer>; seg: Uint8Array<ArrayBuffer> } {
  const encode = (data: Float32Array, datatype: "int16" | "uint8") =>
    encodeNifti(createVolume(data, { shape }), { datatype, source: "rehearsal" }).slice();
  return {
    t1c: encode(makeHead(), "int16"),
    seg: encode(new Float32Array(width * height * depth), "uint8"),
  };
}

/** Writes a case: the head with a tumour of its own, of which core, rim and oedema have labels. */
async function writeCase(
  folder: string,
  number: number,
  files: ReturnType<typeof makeFiles>,
): Promise<void> {
  // Every fifth scan is a second one of the patient before.
  const second = number % 5 === 4;
  const patient = String(number + (second ? 0 : 1)).padStart(5, "0");
  const id = `BraTS-MEN-${patient}-00${second ? 1 : 0}`;
  const random = new Random(number);
  const middle = [85 + random.int(70), 75 + random.int(90), 55 + random.int(45)];
  const size = [0, 1, 2].map(() => 9 + random.int(14));
  const [t1c, seg] = [files.t1c.slice(), files.seg.slice()];
  const image = new Int16Array(t1c.buffer, HEADER);
  ellipsoid(middle, size, (at, r) => {
    if (image[at] === 0) return;
    seg[HEADER + at] = r < 0.2 ? 1 : r < 0.7 ? 3 : 2;
    image[at] += r < 0.7 ? 400 : 80;
  });
  for (const [kind, bytes] of [["t1c", t1c], ["seg", seg]] as const) {
    const path = join(folder, id, `${id}-${kind}.nii.gz`);
    await writeFileAtomic(path, gzipSync(bytes, { level: 1 }));
  }
}

/** The most that each process below a root has held, in bytes. */
function watchMemory(root: number, peaks: Map<number, number>): void {
  const children = (parent: number): number[] => {
    try {
      const path = `/proc/${parent}/task/${parent}/children`;
      return Deno.readTextFileSync(path).trim().split(" ").filter(Boolean).map(Number);
    } catch {
      return []; // it has ended
    }
  };
  const all = [root];
  for (const id of all) {
    all.push(...children(id));
    try {
      const status = Deno.readTextFileSync(`/proc/${id}/status`);
      const kilobytes = /^VmHWM:\s*(\d+) kB/m.exec(status)?.[1];
      if (kilobytes) peaks.set(id, 1024 * Number(kilobytes)); // a zombie has none
    } catch {
      // It has ended.
    }
  }
}

/** The slice files that are whole. */
function countSlices(folder: string): number {
  try {
    return [...Deno.readDirSync(folder)].map(({ name, isDirectory }) =>
      isDirectory ? countSlices(join(folder, name)) : Number(name.endsWith(".slices"))
    ).reduce((a, b) => a + b, 0);
  } catch {
    return 0;
  }
}

/** Runs a command of `./run`; its memory, its time, and the time until all cases were cut. */
async function watch(args: readonly string[], folder: string, cases: number) {
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  const child = command(args, { cwd: folder }).spawn();
  const peaks = new Map<number, number>();
  let sliced: number | null = null;
  const timer = setInterval(() => {
    watchMemory(child.pid, peaks);
    if (sliced === null && countSlices(join(folder, "cache", "slices")) >= cases) {
      sliced = seconds();
    }
  }, 100);
  const { code, stdout, stderr } = await child.output();
  clearInterval(timer);
  const text = new TextDecoder().decode(stdout);
  if (code !== 0) {
    throw new Error(`${args.join(" ")} failed:\n${text}${new TextDecoder().decode(stderr)}`);
  }
  return { peak: Math.max(...peaks.values()), seconds: seconds(), sliced, text };
}

const [fewer, more] = [Number(Deno.args[0] ?? 30), Number(Deno.args[1] ?? 300)];
const folder = await Deno.makeTempDir({ prefix: "rehearsal-" });
try {
  const files = makeFiles();
  const data = join(folder, "BraTS-MEN");
  const rows: { cases: number; dry: number; epoch: number; cells: string[] }[] = [];
  for (const cases of [fewer, more]) {
    const start = performance.now();
    const made = rows.at(-1)?.cases ?? 0;
    for (let n = made; n < cases; n++) await writeCase(data, n, files);
    console.log(
      `${cases - made} cases made in ${((performance.now() - start) / 1000).toFixed(0)} s`,
    );
    await Deno.remove(join(folder, "cache"), { recursive: true }).catch(() => {});
    const common = ["--data", "BraTS-MEN", "--side", "64", "--epochs", "1", ...LIMITS];
    const dry = await watch(["experiment", "lora_4", "--dry-run", ...common], folder, cases);
    console.log(dry.text);
    const out = ["--out", `out-${cases}`];
    const epoch = await watch(["experiment", "lora_4", ...common, ...out], folder, cases);
    const slicing = Number(dry.sliced);
    const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(0);
    rows.push({
      cases,
      dry: dry.peak,
      epoch: epoch.peak,
      cells: [
        String(cases),
        slicing.toFixed(0),
        (slicing / cases).toFixed(2),
        mebibytes(dry.peak),
        epoch.seconds.toFixed(0),
        mebibytes(epoch.peak),
      ],
    });
  }
  const header = [
    "Cases",
    "Slicing (s)",
    "s a case",
    "Dry run (MiB)",
    "Short epoch (s)",
    "Its MiB",
  ];
  console.log(gridText({ header, rows: rows.map(({ cells }) => cells) }));
  const [few, many] = rows;
  const isFlat = many.dry <= few.dry + TOLERANCE && many.epoch <= few.epoch + TOLERANCE;
  console.log(isFlat ? "Memory is flat." : "Memory grows with the number of cases.");
  if (!isFlat) Deno.exitCode = 1;
} finally {
  await Deno.remove(folder, { recursive: true });
}
