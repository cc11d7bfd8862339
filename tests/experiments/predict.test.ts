import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { loadSam } from "../../lib/files/pretrained.ts";
import { decode } from "fast-png";
import { join } from "node:path";
import { createVolume } from "../../lib/formats/volume.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { saveAdapter } from "../../lib/study/adapter_folder.ts";
import { collectAdapter } from "../../lib/adapters/apply_adapter.ts";
import { gpu } from "../gpu.ts";
import { runCommand } from "./command_line.ts";
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
await writeNifti(join(folder, "t1c.nii.gz"), createVolume(voxels(flat, 38), geometry), {
  datatype: "float32",
});
await writeNifti(join(folder, "seg.nii.gz"), createVolume(voxels(disc, 0), geometry), {
  datatype: "uint8",
});

const common = ["--image", "t1c.nii.gz", "--axis", "1", "--side", "128"];

Deno.test("boxes from a segmentation give a mask on the image's own grid, and a picture", async () => {
  const args = [...common, "--boxes-from", "seg.nii.gz", "--out", "mask.nii.gz"];
  const { code, stdout, stderr } = await runCommand(["predict", ...args], { cwd: folder });
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /voxels in 2 slices/);
  const [image, seg, mask] = await Promise.all(
    ["t1c", "seg", "mask"].map((name) => readNifti(join(folder, `${name}.nii.gz`))),
  );
  assertEquals(mask.shape, image.shape);
  const sameBut = [70, 71, 72, 73]; // datatype and bitpix
  assertEquals(
    mask.header!.filter((_, i) => !sameBut.includes(i)),
    image.header!.filter((_, i) => !sameBut.includes(i)),
  );
  for (const [i, value] of image.affine.entries()) assertAlmostEquals(mask.affine[i], value, 1e-6);
  let [both, either] = [0, 0];
  for (const [i, value] of mask.data.entries()) {
    assert(value === 0 || value === 1);
    both += Number(value === 1 && seg.data[i] === 1);
    either += value + seg.data[i];
  }
  assert(2 * both / either > 0.8, `Dice ${2 * both / either}`);
  const png = decode(await Deno.readFile(join(folder, "mask.png")));
  assert(png.width > 500 && png.height > 200);
});

Deno.test("given boxes and an adapter, only the chosen slices are segmented", async () => {
  const sam = await loadSam(gpu);
  const random = new Random(0);
  const layers = await injectLora(sam, { r: 2, random });
  for (const { lora_B: { weight } } of layers.values()) {
    weight.write(Float32Array.from({ length: weight.size }, () => 0.3 * random.normal()));
  }
  await saveAdapter(join(folder, "adapter"), await collectAdapter(sam, {}));
  sam.dispose();
  const masks: Float32Array[] = [];
  for (const adapter of [[], ["--adapter", "adapter"]]) {
    const args = [...common, "--box", "4,4,30,28", "--slices", "1", "--out", "own.nii"];
    const { code, stderr } = await runCommand(["predict", ...args, ...adapter], { cwd: folder });
    assertEquals(code, 0, stderr);
    masks.push((await readNifti(join(folder, "own.nii"))).data);
  }
  for (const mask of masks) {
    const perSlice = [0, 0, 0];
    mask.forEach((value, i) => perSlice[Math.floor(i / 40) % 3] += value);
    assertEquals([perSlice[0], perSlice[2]], [0, 0]);
  }
  assert(masks[0].some((value) => value === 1));
  assert(masks[0].some((value, i) => value !== masks[1][i]), "the adapter changes nothing");
  await Deno.stat(join(folder, "own.png"));
});

Deno.test("predict names what is wrong, in one sentence", async () => {
  const cases: [string[], RegExp][] = [
    [[], /--image and --out/],
    [["--image", "t1c.nii.gz", "--out", "mask.nii.gz"], /either --boxes-from or --box/],
    [[...common, "--box", "1,2,3", "--out", "x.nii"], /--box cannot be 1,2,3/],
    [[...common, "--box", "50,2,60,9", "--out", "x.nii"], /within the slice of 40 x 32/],
    [[...common, "--box", "1,2,9,9", "--slices", "2-7", "--out", "x.nii"], /--slices.*0 to 2/],
    [[...common, "--box", "1,2,9,9", "--out", "x.png"], /x\.png: it must end in \.nii/],
    [[...common, "--boxes-from", "none.nii", "--out", "x.nii"], /none\.nii/],
    [
      [...common, "--box", "1,2,9,9", "--adapter", "none", "--out", "x.nii"],
      /none holds no adapter/,
    ],
    [
      [...common, "--box", "1,2,9,9", "--model", "sam", "--out", "x.nii"],
      /--model cannot be sam: choose mobile_sam/,
    ],
    [[...common, "--bax", "1"], /no option --bax/],
  ];
  for (const [args, says] of cases) {
    const { code, stderr } = await runCommand(["predict", ...args], { cwd: folder });
    assertEquals(code, 1, stderr);
    assertMatch(stderr, says);
    assertEquals(stderr.split("\n").filter((line) => line && !line.includes("XDG_")).length, 1);
  }
});
