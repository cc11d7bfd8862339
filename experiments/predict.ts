// deno task predict --image case-t1c.nii.gz --boxes-from seg.nii.gz --out mask.nii.gz: segments a volume.
import { parseArgs } from "@std/cli/parse-args";
import { readNifti, writeNifti } from "../lib/formats/nifti.ts";
import { type Axis, cut, paste, planeOf, whole } from "../lib/data/plane.ts";
import { rescale } from "../lib/data/preprocess.ts";
import { type Box, tightBox } from "../lib/data/prompts.ts";
import { binarise } from "../lib/data/target.ts";
import { requireSameGrid } from "../lib/formats/volume.ts";
import { InputError } from "../lib/errors.ts";
import { writeFileAtomic } from "../lib/fs.ts";
import { Gpu } from "../lib/gpu/gpu.ts";
import { maskPicture } from "../lib/report/mask_pictures.ts";
import { Progress } from "../lib/study/progress.ts";
import { SamPredictor } from "../lib/sam/predictor.ts";
import { dice } from "../lib/metrics/metrics.ts";
import { applyAdapter } from "../lib/adapters/apply_adapter.ts";
import { MODEL_NAMES } from "../lib/sam/models.ts";
import { openAdapter, ownWeights, requireBase, runOf } from "../lib/study/adapter.ts";
import { runMain } from "../lib/study/main.ts";
import { buildPretrained, readModelName, weightsFile } from "../lib/study/model.ts";

const usage = `usage: ./run predict --image FILE.nii.gz --out MASK.nii.gz [options]

  --boxes-from FILE   a box round the labels in each slice of this segmentation
  --box x0,y0,x1,y1   a box in pixels of the slice, x along the first of its voxel axes; may be repeated
  --slices A-B        with --box: the slices that the boxes are for (default: all)
  --axis N            slice along this voxel axis: 0, 1 or 2 (default 2)
  --adapter PATH      a PEFT folder, the folder of a run, or a file of Sam_LoRA
  --model NAME        ${MODEL_NAMES.join(", ")} (default mobile_sam)
  --weights FILE      weights other than the published ones
  --side N            side of the model's input (default: the run's, else 1024)
`;

/** A slice to segment, and where. */
interface Job {
  readonly index: number;
  readonly boxes: readonly Box[];
  readonly truth: Uint8Array | null;
}

await runMain(async () => {
  const options = parseArgs(Deno.args, {
    string: [
      "image",
      "out",
      "boxes-from",
      "box",
      "slices",
      "axis",
      "adapter",
      "model",
      "weights",
      "side",
      "_",
    ],
    boolean: ["help"],
    collect: ["box"],
    unknown: (option) => {
      if (option.startsWith("-")) {
        throw new InputError(`there is no option ${option.split("=")[0]}: --help lists them`);
      }
    },
  });
  if (options.help) return console.log(usage);
  const { image: imagePath, out, "boxes-from": segPath, adapter: adapterPath } = options;
  if (!imagePath || !out || options._.length > 0) {
    throw new InputError("predict needs --image and --out: --help lists the options");
  }
  if (!/\.nii(\.gz)?$/.test(out)) throw new InputError(`--out ${out} must end in .nii or .nii.gz`);
  if (Boolean(segPath) === options.box.length > 0) {
    throw new InputError("predict needs either --boxes-from or --box: --help lists the options");
  }
  const axis = Number(options.axis ?? 2);
  if (![0, 1, 2].includes(axis)) {
    throw new InputError(`--axis cannot be ${options.axis}: 0, 1 or 2`);
  }
  const run = adapterPath ? await runOf(adapterPath) : null;
  const side = options.side === undefined ? run?.side ?? 1024 : Number(options.side);
  if (!Number.isInteger(side) || side < 64 || side % 64 !== 0) {
    throw new InputError(`--side cannot be ${options.side}: give a multiple of 64`);
  }
  const model = readModelName(options.model ?? run?.model ?? "mobile_sam");
  const weights = options.weights ?? ownWeights(adapterPath ?? "", run);

  const image = await readNifti(imagePath);
  const plane = planeOf(image, axis as Axis);
  const count = image.shape[axis];
  const jobs: Job[] = [];
  if (segPath) {
    const seg = await readNifti(segPath);
    requireSameGrid({ volume: image, name: imagePath }, { volume: seg, name: segPath });
    const mask = binarise(seg, { target: "auto", name: segPath });
    for (let index = 0; index < count; index++) {
      const truth = cut(mask, plane, { ...whole(plane), index });
      if (!truth.some((value) => value > 0)) continue;
      jobs.push({ index, truth, boxes: [tightBox({ mask: truth, ...whole(plane) })] });
    }
    if (jobs.length === 0) throw new InputError(`${segPath} has no labels to draw boxes round`);
  } else {
    const boxes = options.box.map((text) => readBox(text, plane));
    const [first, last] = readSlices(options.slices, count);
    for (let index = first; index <= last; index++) jobs.push({ index, boxes, truth: null });
  }

  const adapter = adapterPath ? await openAdapter(adapterPath) : null;
  if (adapter) await requireBase(adapter, await weightsFile({ model, weights, side }));
  using gpu = await Gpu.open();
  console.log(`Adapter: ${gpu.info.name} (${gpu.info.type})`);
  const sam = await buildPretrained(gpu, { model, weights, side });
  if (adapter) await applyAdapter(sam, adapter);
  using predictor = new SamPredictor(sam, { side });
  const voxels = new Float32Array(image.data.length);
  const progress = new Progress({ label: "Slices", total: jobs.length });
  let shown: { job: Job; pixels: Float32Array; mask: Uint8Array; area: number } | null = null;
  for (const [done, job] of jobs.entries()) {
    const window = { ...whole(plane), index: job.index };
    const { width, height } = window;
    const pixels = rescale(cut(image.data, plane, window), { width, method: run?.rescale });
    predictor.setImage({ data: pixels, width, height });
    const mask = new Uint8Array(width * height);
    for (const box of job.boxes) {
      const { masks: [own] } = await predictor.predict({ box, multimaskOutput: false });
      own.forEach((value, i) => mask[i] |= value);
    }
    paste(mask, voxels, { plane, window });
    const area = mask.reduce((sum, value) => sum + value, 0);
    if (!shown || area > shown.area) shown = { job, pixels, mask, area };
    progress.update({ done: done + 1 });
  }
  progress.finish();

  await writeNifti(out, { ...image, data: voxels }, { datatype: "uint8" });
  const picture = out.replace(/\.nii(\.gz)?$/, ".png");
  const { job: { index, boxes, truth }, pixels, mask } = shown!;
  await writeFileAtomic(
    picture,
    await maskPicture({
      image: pixels,
      width: plane.width,
      height: plane.height,
      truth: truth ?? undefined,
      predictions: [{ name: "Prediction", mask, dice: truth ? dice(mask, truth) : undefined }],
      box: boxes[0],
      caption: `Slice ${index} along axis ${axis}`,
    }),
  );
  const total = voxels.reduce((sum, value) => sum + value, 0);
  console.log(`${total} voxels in ${jobs.length} slices`);
  console.log(`Written: ${out}, ${picture}`);
});

function readBox(text: string, { width, height }: { width: number; height: number }): Box {
  const numbers = text.split(",").map((part) => part.trim() === "" ? NaN : Number(part));
  const [x0, y0, x1, y1] = numbers;
  if (
    numbers.length !== 4 || !(x0 < x1 && y0 < y1 && x0 < width && y0 < height && x1 > 0 && y1 > 0)
  ) {
    throw new InputError(
      `--box cannot be ${text}: give x0,y0,x1,y1 with x0 < x1 and y0 < y1 within the slice of ` +
        `${width} x ${height} pixels`,
    );
  }
  return [x0, y0, x1, y1];
}

function readSlices(text: string | undefined, count: number): [first: number, last: number] {
  if (text === undefined) return [0, count - 1];
  const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? [];
  if (first === undefined || Number(first) > Number(last) || Number(last) >= count) {
    throw new InputError(`--slices cannot be ${text}: give one, or A-B, from 0 to ${count - 1}`);
  }
  return [Number(first), Number(last)];
}
