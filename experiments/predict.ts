// ./run predict SCAN… --out DIR: masks of new scans, a picture and a table of them.
import { join } from "node:path";
import { writeNifti } from "../lib/data/nifti_file.ts";
import { noteLines } from "../lib/data/notes.ts";
import { orientationOf } from "../lib/data/orientation.ts";
import { cut, whole } from "../lib/data/plane.ts";
import { rescaledWindow } from "../lib/data/preprocess.ts";
import { readVolume } from "../lib/data/read_volume.ts";
import { openScans, PREDICTIONS_TABLE as TABLE, type Scan } from "../lib/data/scans.ts";
import { binarise } from "../lib/data/target.ts";
import type { Thumbnails } from "../lib/data/thumbnails.ts";
import { PRESENCE_SCORES, type PresenceRule } from "../lib/evaluate/presence.ts";
import { excerpt, InputError } from "../lib/errors.ts";
import { realPath, requireFree, statOf } from "../lib/files/outputs.ts";
import { loadSam, weightsFile } from "../lib/files/pretrained.ts";
import { requireSameGrid, type Volume } from "../lib/formats/volume.ts";
import { readBytes, writeFileAtomic } from "../lib/fs.ts";
import { dice } from "../lib/metrics/metrics.ts";
import { maskName } from "../lib/predict/mask_name.ts";
import { expandPatterns } from "../lib/predict/paths.ts";
import { readPoints } from "../lib/predict/points_file.ts";
import { type PredictionRow, predictionsTable } from "../lib/predict/predictions_table.ts";
import {
  fromBox,
  fromClicks,
  fromLesions,
  type ObjectPrompt,
  type PromptContext,
  readSlices,
  type SliceGrid,
  withoutPrompt,
} from "../lib/predict/prompts.ts";
import { gridOf, lookAlikeSentence, trainingSlices } from "../lib/predict/recipe.ts";
import { type ScanMask, segmentScan } from "../lib/predict/segment_scan.ts";
import { SPREAD } from "../lib/predict/segment_object.ts";
import { summarise } from "../lib/predict/summary.ts";
import { plural } from "../lib/report/format.ts";
import {
  type PredictedSlice,
  predictionSheet,
  SCANS_PER_SHEET,
} from "../lib/report/prediction_sheet.ts";
import { type ModelName, MODELS } from "../lib/sam/models.ts";
import { SamPredictor } from "../lib/sam/predictor.ts";
import { applyAdapter } from "../lib/adapters/apply_adapter.ts";
import {
  openAdapter,
  ownWeights,
  presenceRule,
  readOrigin,
  requireBase,
} from "../lib/study/adapter.ts";
import { pick, type Values } from "../lib/study/command_line.ts";
import { openGpu, withVersion } from "../lib/study/device.ts";
import { describeAdapter } from "../lib/study/environment.ts";
import { runCommand } from "../lib/study/main.ts";
import { Progress } from "../lib/study/progress.ts";
import { type Config, configFields, DEFAULTS, parseConfig } from "../lib/study/schema.ts";
import { adapterPath, SHIPPED_NAMES } from "../lib/study/shipped.ts";
import { commands } from "./commands.ts";

type Options = Values<typeof commands.predict.fields>;

/** Contact sheets of a prediction, by their number from 0. */
const sheetName = (page: number) => `contact_sheet${page > 0 ? `_${page + 1}` : ""}.png`;

/** The model, and the values that its run was trained with or the command line names. */
interface Setup {
  readonly adapter: Awaited<ReturnType<typeof openAdapter>> | null;
  readonly config: Config;
  readonly seen: Thumbnails | null;
  /** Rule by which masks without a prompt count; null if all do. */
  readonly presence: PresenceRule | null;
}

/** Reads the adapter and its run's values, and says which of them are overridden. */
async function openSetup(given: Partial<Options>): Promise<Setup> {
  const name = given.adapter ?? (given.model || given.weights ? "vanilla" : SHIPPED_NAMES[0]);
  const overrides = pick(given, configFields);
  if (name === "vanilla") {
    const model = overrides.model ?? DEFAULTS.model;
    const config: Config = { ...DEFAULTS, side: MODELS[model].sides.native, ...overrides };
    console.log(`Adapter: none, ${config.model} as it was pretrained, side ${config.side}`);
    return { adapter: null, config, seen: null, presence: ruleOf(null, given) };
  }
  const path = adapterPath(name);
  const adapter = await openAdapter(path);
  const origin = await readOrigin(path, adapter);
  const run = origin && parseConfig(origin.config, path);
  const config: Config = {
    ...DEFAULTS,
    side: MODELS[given.model ?? DEFAULTS.model].sides.native,
    ...run,
    weights: given.weights ? null : ownWeights(path, run),
    ...overrides,
  };
  console.log(
    `Adapter: ${excerpt(name)}, ${
      run ? "used as it was trained:" : "which does not say how it was trained; used with"
    } side ${config.side}, axis ${config.axis}, rescaling ${config.rescale}, ` +
      `${config.crop === null ? "no crop" : `centre crop of ${config.crop}`}`,
  );
  for (const [field, value] of Object.entries(overrides)) {
    const trained = run?.[field as keyof Config];
    if (!run || field === "weights" || trained === value) continue;
    console.log(
      `Overridden: --${
        configFields[field as keyof typeof configFields].flag
      } ${value}, where it was ` +
        `trained with ${trained ?? "none"}`,
    );
  }
  const presence = ruleOf(presenceRule(origin), given);
  return { adapter, config, seen: trainingSlices(adapter), presence };
}

/** The presence rule of an adapter with the threshold that is given; without a rule, one of the mean logit. */
function ruleOf(own: PresenceRule | null, { presence }: Partial<Options>): PresenceRule | null {
  if (presence === null || presence === undefined) return own;
  return { score: own?.score ?? "meanLogit", threshold: presence };
}

/** Says by which rule slices without a prompt stay empty. */
function tellPresence(rule: PresenceRule | null): void {
  if (rule === null) {
    console.log(
      "This model has no rule that tells slices without tumour: every slice keeps its mask. " +
        "--presence N leaves empty those with a mean logit inside the mask below N.",
    );
    return;
  }
  const { score, threshold } = rule;
  console.log(
    `Without a prompt a slice has tumour if its ${
      PRESENCE_SCORES[score].label
    } is ${threshold} or more ` +
      "(--presence).",
  );
}

/** Refuses files that would be written over inputs, or over others unasked. */
function checkOutputs(scans: readonly Scan[], values: Options): void {
  const { out, boxesFrom, pointsFrom, overwrite } = values;
  const inputs = [...scans.flatMap(({ path, seg }) => [path, seg]), boxesFrom, pointsFrom];
  if (inputs.some((path) => path !== null && realPath(path) === realPath(out))) {
    throw new InputError(`--out ${excerpt(out)} is an input: name a folder for the masks`);
  }
  const isFile = statOf(out)?.isFile;
  if (isFile || /\.(nii|nii\.gz|png|csv)$/i.test(out)) {
    throw new InputError(`--out ${excerpt(out)} is a file: name a folder for the masks`);
  }
  const pages = Array.from({ length: Math.ceil(scans.length / SCANS_PER_SHEET) }, (_, i) => i);
  const masks = scans.map(maskName);
  const twin = masks.find((name, i) => masks.indexOf(name) !== i);
  if (twin !== undefined) {
    throw new InputError(`two scans would have the mask ${twin}: segment them one at a time`);
  }
  requireFree([...masks, TABLE, ...pages.map(sheetName)].map((name) => join(out, name)), {
    inputs,
    overwrite,
    remedy: "name another folder with --out",
  });
}

/** The objects that the command line asks for, and the true mask where a segmentation gives boxes. */
async function objectsOf(
  values: Options,
  config: Config,
  context: PromptContext,
): Promise<{ objects: ObjectPrompt[]; truth: Uint8Array | null }> {
  const { boxesFrom, pointsFrom, point, background, box, slices } = values;
  const { volume, name, grid } = context;
  const range = readSlices(slices, grid.count);
  if (boxesFrom) {
    const seg = await readVolume(boxesFrom);
    requireSameGrid({ volume, name }, { volume: seg, name: boxesFrom });
    const truth = binarise(seg, {
      target: config.target,
      scheme: values.labels, // of this segmentation, whatever the run had
      name: boxesFrom,
    });
    return { objects: fromLesions(truth, range, { ...context, name: boxesFrom }), truth };
  }
  const file = pointsFrom
    ? readPoints(new TextDecoder().decode(readBytes(pointsFrom)), pointsFrom)
    : [];
  const objects = [
    ...fromClicks({ points: point, background, file, range }, context),
    ...box.map((text) => fromBox(text, range, context)),
  ];
  if (!hasPrompt(values)) objects.push(withoutPrompt(grid, range));
  return { objects, truth: null };
}

/** The true mask that lies beside a scan, to be shown; null if there is none, or none that fits. */
async function knownTruth(
  { path, seg: name }: Scan,
  volume: Volume,
  { target, labels }: Config,
): Promise<Uint8Array | null> {
  if (name === null) return null;
  try {
    const seg = await readVolume(name);
    requireSameGrid({ volume, name: path }, { volume: seg, name });
    return binarise(seg, { target, scheme: labels, name });
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.log(`Not shown: ${error.message}`);
    return null;
  }
}

/** Refuses prompts that do not go together, or with several scans. */
function checkPrompts(scans: readonly Scan[], values: Options): void {
  const { boxesFrom, pointsFrom, point, background, box } = values;
  const others = point.length + box.length + Number(pointsFrom !== null);
  if (boxesFrom && others + background.length > 0) {
    throw new InputError("--boxes-from does not go with other prompts: leave one out");
  }
  if (background.length > 0 && point.length === 0 && !pointsFrom) {
    throw new InputError(
      "--background goes with --point or --points-from: give a point on the object",
    );
  }
  if (hasPrompt(values) && scans.length > 1) {
    throw new InputError(`a prompt is of one scan, and ${scans.length} are named: name one`);
  }
}

/** True if the command line gives a prompt. */
function hasPrompt({ boxesFrom, pointsFrom, point, box }: Options): boolean {
  return boxesFrom !== null || pointsFrom !== null || point.length + box.length > 0;
}

/** Results of a scan's segmentation for the table and the picture. */
interface ScanResult {
  readonly row: PredictionRow;
  readonly picture: PredictedSlice;
}

/** Segments a scan and writes its mask. */
async function predictScan(
  scan: Scan,
  { predictor, config, seen, presence, values }: Setup & {
    predictor: SamPredictor;
    values: Options;
  },
): Promise<ScanResult> {
  const { path, id: name } = scan;
  const volume = await scan.load();
  for (const line of noteLines(volume.notes.map((text) => ({ path, text })))) console.log(line);
  const grid = gridOf(volume, config);
  const say = (line: string) => console.log(line);
  const context = { volume, name: path, grid, inMillimetres: values.mm, say };
  const { objects, truth } = await objectsOf(values, config, context);
  const isUnprompted = !hasPrompt(values);
  const total = objects.reduce(
    (sum, { slices, spread }) => sum + (spread ? spread[1] - spread[0] + 1 : slices.size),
    0,
  );
  const progress = new Progress({ label: excerpt(name), total });
  const start = performance.now();
  let done = 0;
  const found = await segmentScan(predictor, {
    volume,
    grid,
    method: config.rescale,
    objects,
    rule: SPREAD,
    presence: isUnprompted ? presence : null,
    merge: values.merge,
    onSlice: () => progress.update({ done: Math.min(++done, total) }),
  });
  const seconds = (performance.now() - start) / 1000;
  const mask = Uint8Array.from(found.labels, (label) => Number(label !== 0));
  const summary = summarise(mask, volume, config.axis);
  progress.finish(
    `${excerpt(name)}: ${plural(objects.length, "object")}, ${
      summary.millilitres.toFixed(2)
    } ml in ` +
      `${plural(summary.slices, "slice")} of ${grid.count}` +
      (isUnprompted ? "" : ` (${plural(found.encoded, "slice")} encoded)`) +
      `, ${(seconds / Math.max(1, found.encoded)).toFixed(2)} s a slice`,
  );
  tellLookAlikes(found, { seen, volume, grid, config, name });
  await writeNifti(join(values.out, maskName(scan)), { ...volume, data: found.labels }, {
    datatype: objects.length > 255 && !values.merge ? "int16" : "uint8",
  });
  return {
    row: { name, presence: found.presence, ...summary },
    picture: pictureOf(found, {
      name,
      volume,
      grid,
      config,
      mask,
      truth: truth ?? await knownTruth(scan, volume, { ...config, labels: values.labels }),
    }),
  };
}

/** Warns of slices that look like those that the adapter was trained on. */
function tellLookAlikes(
  { slices }: ScanMask,
  { seen, volume, grid: { plane, window }, config, name }: {
    seen: Thumbnails | null;
    volume: Volume;
    grid: SliceGrid;
    config: Config;
    name: string;
  },
): void {
  if (!seen) return;
  const alike = slices.filter((index) => {
    const place = { ...window, index };
    const image = rescaledWindow(volume.data, { plane, window: place, method: config.rescale });
    return seen.has({ image, width: window.width, height: window.height });
  });
  if (alike.length === 0) return;
  const ids = alike.map((index) => `${name}:${index}`);
  console.log(`Warning: ${lookAlikeSentence(ids, slices.length)}`);
}

/** The slice with the largest mask. */
function pictureOf(
  { largest: index }: ScanMask,
  { name, volume, grid, config, mask, truth }: {
    name: string;
    volume: Volume;
    grid: SliceGrid;
    config: Config;
    mask: Uint8Array;
    truth: Uint8Array | null;
  },
): PredictedSlice {
  const { plane, axis } = grid;
  const place = { ...whole(plane), index };
  const own = cut(mask, plane, place);
  const known = truth ? cut(truth, plane, place) : undefined;
  return {
    name: excerpt(name),
    spacing: plane.spacing,
    orientation: orientationOf(volume),
    axis,
    index,
    image: rescaledWindow(volume.data, { plane, window: place, method: config.rescale }),
    width: plane.width,
    height: plane.height,
    mask: own,
    truth: known,
    dice: known && dice(own, known),
  };
}

await runCommand(commands.predict, async ({ positional, given, values }) => {
  const setup = await openSetup(given);
  const { adapter, config } = setup;
  const { scans, notes } = await openScans(expandPatterns(positional), config);
  for (const note of notes) console.log(note);
  checkPrompts(scans, values);
  checkOutputs(scans, values);
  if (!hasPrompt(values)) tellPresence(setup.presence);
  const { model, weights, side }: { model: ModelName; weights: string | null; side: number } =
    config;
  if (adapter) await requireBase(adapter, await weightsFile({ model, weights }));
  await using gpu = await openGpu(values);
  console.log(describeAdapter(withVersion(gpu.info)));
  const sam = await loadSam(gpu, { model, weights, side });
  if (adapter) await applyAdapter(sam, adapter);
  using predictor = new SamPredictor(sam, { side });

  const rows: PredictionRow[] = [];
  const pictures: PredictedSlice[] = [];
  const failed: string[] = [];
  for (const scan of scans) {
    try {
      const { row, picture } = await predictScan(scan, { ...setup, predictor, values });
      rows.push(row);
      pictures.push(picture);
      await writeFileAtomic(join(values.out, TABLE), predictionsTable(rows));
    } catch (error) {
      if (!(error instanceof InputError) || scans.length === 1) throw error;
      console.error(`error: ${error.message}`);
      failed.push(scan.path);
    }
  }
  for (let page = 0; page * SCANS_PER_SHEET < pictures.length; page++) {
    const own = pictures.slice(page * SCANS_PER_SHEET, (page + 1) * SCANS_PER_SHEET);
    await writeFileAtomic(join(values.out, sheetName(page)), await predictionSheet(own));
  }
  console.log(
    `Written: ${plural(rows.length, "mask")}, ${TABLE} and ${sheetName(0)} in ${values.out}`,
  );
  if (failed.length > 0) {
    throw new InputError(
      `${failed.length} of ${scans.length} scans were left out (${
        failed.slice(0, 3).map(excerpt).join(", ")
      }${failed.length > 3 ? ", …" : ""}): mend what is said of them above`,
    );
  }
});
