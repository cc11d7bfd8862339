// ./run predict --image case-t1c.nii.gz --boxes-from seg.nii.gz --out mask.nii.gz: segments a volume.
import { type Axis, cut, paste, type Plane, planeOf, whole } from "../lib/data/plane.ts";
import { readNifti, writeNifti } from "../lib/data/nifti_file.ts";
import { loadSam, weightsFile } from "../lib/files/pretrained.ts";
import { centreCrop, rescale } from "../lib/data/preprocess.ts";
import { type Box, tightBox } from "../lib/data/prompts.ts";
import { binarise } from "../lib/data/target.ts";
import { requireSameGrid, type Volume } from "../lib/formats/volume.ts";
import { InputError } from "../lib/errors.ts";
import { writeFileAtomic } from "../lib/fs.ts";
import { Gpu } from "../lib/gpu/gpu.ts";
import { maskPicture } from "../lib/report/mask_pictures.ts";
import { Progress } from "../lib/study/progress.ts";
import { SamPredictor } from "../lib/sam/predictor.ts";
import { dice } from "../lib/metrics/metrics.ts";
import { applyAdapter } from "../lib/adapters/apply_adapter.ts";
import {
  lookAlikeSentence,
  openAdapter,
  ownWeights,
  requireBase,
  runOf,
  trainingSlices,
} from "../lib/study/adapter.ts";
import { runCommand } from "../lib/study/main.ts";
import type { Config } from "../lib/study/schema.ts";
import { commands, pictureFile } from "./commands.ts";

/** A slice to segment under boxes, with its true mask if that is known. */
interface Job {
  readonly index: number;
  readonly boxes: readonly Box[];
  readonly truth: Uint8Array | null;
}

await runCommand(commands.predict, async ({ given, values }) => {
  const { image: imagePath, out, boxesFrom, axis } = values;
  if (Boolean(boxesFrom) === values.box.length > 0) {
    throw new InputError("predict needs either --boxes-from or --box: --help lists the options");
  }
  const run = values.adapter ? await runOf(values.adapter) : null;
  const side = given.side ?? run?.side ?? values.side;
  const model = given.model ?? run?.model ?? values.model;
  const weights = values.weights ?? ownWeights(values.adapter ?? "", run);

  const image = await readNifti(imagePath);
  const plane = planeOf(image, axis);
  const jobs = boxesFrom
    ? await jobsFrom(boxesFrom, { image, name: imagePath, axis })
    : jobsOf(values.box, { slices: values.slices, count: image.shape[axis], plane });

  const adapter = values.adapter ? await openAdapter(values.adapter) : null;
  if (adapter) await requireBase(adapter, await weightsFile({ model, weights }));
  await using gpu = await Gpu.open();
  console.log(`Adapter: ${gpu.info.name} (${gpu.info.type})`);
  const sam = await loadSam(gpu, { model, weights, side });
  if (adapter) await applyAdapter(sam, adapter);
  using predictor = new SamPredictor(sam, { side });
  const voxels = new Float32Array(image.data.length);
  const progress = new Progress({ label: "Slices", total: jobs.length });
  const seen = adapter && trainingSlices(adapter);
  const alike: string[] = [];
  let shown: { job: Job; pixels: Float32Array; mask: Uint8Array; area: number } | null = null;
  for (const [done, job] of jobs.entries()) {
    const window = { ...whole(plane), index: job.index };
    const { width, height } = window;
    const pixels = rescale(cut(image.data, plane, window), { width, method: run?.rescale });
    if (seen?.has(asTrained(image, { plane, index: job.index, run }))) alike.push(`${job.index}`);
    predictor.setImage({ data: pixels, width, height });
    const mask = await segment(predictor, job.boxes, width * height);
    paste(mask, voxels, { plane, window });
    const area = mask.reduce((sum, value) => sum + value, 0);
    if (!shown || area > shown.area) shown = { job, pixels, mask, area };
    progress.update({ done: done + 1 });
  }
  progress.finish();
  if (alike.length > 0) console.log(`Warning: ${lookAlikeSentence(alike, jobs.length)}`);

  await writeNifti(out, { ...image, data: voxels }, { datatype: "uint8" });
  const picture = pictureFile(out);
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

/** A slice prepared as those that an adapter was trained on. */
function asTrained(
  image: Volume,
  { plane, index, run }: { plane: Plane; index: number; run: Config | null },
): { image: Float32Array; width: number; height: number } {
  const window = run && run.crop !== null ? centreCrop(plane, run.crop) : whole(plane);
  const { width, height } = window;
  const pixels = cut(image.data, plane, { ...window, index });
  return { image: rescale(pixels, { width, method: run?.rescale }), width, height };
}

/** A job for each slice in which a segmentation has labels, with a box round them. */
async function jobsFrom(
  boxesFrom: string,
  { image, name, axis }: { image: Volume; name: string; axis: Axis },
): Promise<Job[]> {
  const plane = planeOf(image, axis);
  const seg = await readNifti(boxesFrom);
  requireSameGrid({ volume: image, name }, { volume: seg, name: boxesFrom });
  const mask = binarise(seg, { target: "auto", name: boxesFrom });
  const jobs = Array.from({ length: image.shape[axis] }, (_, index) => index).flatMap((index) => {
    const truth = cut(mask, plane, { ...whole(plane), index });
    if (!truth.some((value) => value > 0)) return [];
    return [{ index, truth, boxes: [tightBox({ mask: truth, ...whole(plane) })] }];
  });
  if (jobs.length === 0) throw new InputError(`${boxesFrom} has no labels to draw boxes round`);
  return jobs;
}

/** A job for each slice of a range, all with the same boxes. */
function jobsOf(
  texts: readonly string[],
  { slices, count, plane }: { slices: string | null; count: number; plane: Plane },
): Job[] {
  const boxes = texts.map((text) => readBox(text, plane));
  const [first, last] = readSlices(slices, count);
  return Array.from({ length: last - first + 1 }, (_, i) => ({
    index: first + i,
    boxes,
    truth: null,
  }));
}

/** The union of the masks under several boxes, a byte a pixel. */
async function segment(
  predictor: SamPredictor,
  boxes: readonly Box[],
  pixels: number,
): Promise<Uint8Array> {
  const mask = new Uint8Array(pixels);
  for (const box of boxes) {
    const { masks: [own] } = await predictor.predict({ box, multimaskOutput: false });
    own.forEach((value, i) => mask[i] |= value);
  }
  return mask;
}

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

function readSlices(text: string | null, count: number): [first: number, last: number] {
  if (text === null) return [0, count - 1];
  const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? [];
  if (first === undefined || Number(first) > Number(last) || Number(last) >= count) {
    throw new InputError(`--slices cannot be ${text}: give one, or A-B, from 0 to ${count - 1}`);
  }
  return [Number(first), Number(last)];
}
