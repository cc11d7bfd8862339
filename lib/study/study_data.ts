import { join } from "node:path";
import { asideLine, type Dataset, openDataset } from "../data/dataset.ts";
import { noteLines } from "../data/notes.ts";
import type { Axis } from "../data/plane.ts";
import { type CropReport, openSlices, type SliceRef, type SliceSet } from "../data/slices.ts";
import {
  DEFAULT_FRACTIONS,
  foldPatients,
  type Partition,
  partition,
  type Split,
  type SplitFractions,
  splitPatients,
} from "../data/split.ts";
import { LABEL_SCHEMES } from "../data/target.ts";
import { Thumbnails } from "../data/thumbnails.ts";
import { InputError } from "../errors.ts";
import { Random } from "../random.ts";
import { Progress } from "./progress.ts";
import { checkPatients } from "../evaluate/guards.ts";
import { type Config, dataSeed } from "./schema.ts";

/** Folder of the embedded sample: real meningiomas in BraTS layout, a slice a scan. */
export const SAMPLE = join(import.meta.dirname!, "..", "..", "experiments", "sample");

/** Limit of figures on the sample, which tables of it say. */
export const SAMPLE_NOTE =
  "Placement and kinds of prompt of the default recipe come from earlier studies of these 52 patients " +
  "(results/README.md), rates and prompts a step were set on validation patients of split 0, side and " +
  "epochs by the time that they take: no value was chosen on this table's scores, but patients tested " +
  "here took part in those studies.";

/** The slices of a study and who is in which part of its split. */
export interface StudyData {
  /** Name of the data set, without its path. */
  readonly name: string;
  /** Reads slices. */
  readonly slices: SliceSet;
  /** Patients of each part. */
  readonly split: Split;
  /** Slices of each part. */
  readonly parts: Partition<SliceRef>;
}

/**
 * Opens the data set of a config, the embedded sample if it names none, and splits it by patient.
 *
 * @param log Is told, line by line, what is found and what was left out.
 * @throws {InputError} if the data cannot be used.
 * @throws {GuardError} if a patient is in two parts.
 */
export async function openStudyData(
  config: Config,
  log: (line: string) => void,
): Promise<StudyData> {
  const root = config.data ?? SAMPLE;
  const dataset = await openDataset(root, config);
  const slices = await openSlicesWithProgress(dataset, config);
  tellData(slices, config, log);
  tellCrop(slices, config, log);
  const patients = slices.refs.map(({ patient }) => patient);
  const seed = dataSeed(config);
  const { folds, fold } = config;
  const split = folds === null
    ? splitPatients(patients, { seed, fractions: fractionsOf(config) })
    : foldPatients(patients, { seed, folds, fold: fold ?? 1 });
  const all = partition(slices.refs, split);
  const parts = {
    train: limit(all.train, config.maxTrain, seed),
    validation: limit(all.validation, config.maxValidation, seed),
    test: limit(all.test, config.maxTest, seed),
  };
  checkPatients({ ...parts }, {
    shared: split.validationSharesTrainingPatients ? ["train", "validation"] : [],
  });
  log(
    `${dataset.name}: ${dataset.grouping}, ${slices.refs.length} slices` +
      `; using ${parts.train.length} slices to train, ${parts.validation.length} to validate, ${parts.test.length} to test.`,
  );
  if (split.validationSharesTrainingPatients) {
    log(
      "Two patients are too few for a validation patient: validation slices are held out from the training patient.",
    );
  }
  return { name: dataset.name, slices, split, parts };
}

/** Says what was left aside of a data set, what is odd about its files, and how its labels are read. */
export function tellData(
  { dataset, notes, labels }: SliceSet,
  config: Config,
  log: (line: string) => void,
): void {
  const aside = asideLine(dataset.name, dataset.aside);
  for (const line of [...aside ? [aside] : [], ...noteLines(notes)]) log(line);
  if (labels === null) return;
  const why = config.labels === null ? ", by the names of the cases" : "";
  log(`Labels: ${labels} (${LABEL_SCHEMES[labels].about})${why}.`);
}

/**
 * Cuts a data set's slices, saying how far it is: a large one takes minutes the first time.
 *
 * @param options.wholeVolumes Every slice of a volume, with tumour or not.
 */
export async function openSlicesWithProgress(
  dataset: Dataset,
  config: Config,
  { wholeVolumes = false }: { wholeVolumes?: boolean } = {},
): Promise<SliceSet> {
  const progress = new Progress({
    label: `Cutting slices of ${dataset.name}`,
    total: dataset.cases.length,
    unit: "cases",
  });
  let cut = false;
  const slices = await openSlices(dataset, {
    ...sliceOptions(config),
    ...(wholeVolumes && { minTumourVoxels: 0, maxPerCase: undefined }),
    onProgress: ({ done, cached }) => {
      cut ||= !cached;
      if (cut) progress.update({ done });
    },
  });
  progress.finish();
  return slices;
}

/**
 * The data of a row whose values differ from its study's: the same patients in the same parts, and of
 * the study's slices those that the row's preparation leaves.
 *
 * @returns the study's own data where the preparation is the same.
 * @throws {InputError} if nothing is left of a part.
 */
export async function openRowData(
  study: StudyData,
  { config, row, log }: { config: Config; row: Config; log: (line: string) => void },
): Promise<StudyData> {
  const isSame = JSON.stringify(sliceOptions(config)) === JSON.stringify(sliceOptions(row));
  if (isSame) return study;
  const slices = await openSlicesWithProgress(study.slices.dataset, row);
  tellCrop(slices, row, log);
  const found = new Map(slices.refs.map((ref) => [ref.id, ref]));
  const kept = (part: keyof Partition<SliceRef>) => {
    const refs = study.parts[part].flatMap(({ id }) => found.get(id) ?? []);
    if (refs.length > 0) return refs;
    throw new InputError(
      `crop ${row.crop} and axis ${row.axis} leave no slice of the ${part} part: choose others`,
    );
  };
  const parts = { train: kept("train"), validation: kept("validation"), test: kept("test") };
  return { ...study, slices, parts };
}

/** Thumbnails by the list of slices that they are of: all rows of a part are trained on one list. */
const thumbnails = new WeakMap<readonly SliceRef[], Promise<Thumbnails>>();

/** Thumbnails of the training slices, made once. */
export function trainingThumbnails({ slices, parts: { train } }: StudyData): Promise<Thumbnails> {
  const made = thumbnails.get(train) ?? Thumbnails.of(slices, train);
  thumbnails.set(train, made);
  return made;
}

function tellCrop(slices: SliceSet, config: Config, log: (line: string) => void): void {
  if (slices.crop.lostVoxels > 0) log(describeCrop(slices.crop, config.crop!));
}

/** Says what a crop loses of a data set's tumours. */
export function describeCrop(
  { lostVoxels, tumourVoxels, lostSlices }: CropReport,
  crop: number,
): string {
  const share = (100 * lostVoxels / tumourVoxels).toFixed(1);
  return `The crop to ${crop} loses ${lostVoxels} of ${tumourVoxels} tumour voxels (${share} %) and ${lostSlices} slices.`;
}

/** The shares that a config asks for. */
function fractionsOf({ split }: Config): SplitFractions {
  if (split === null) return DEFAULT_FRACTIONS;
  const [train, validation, test] = split;
  return { train, validation, test };
}

/** Numbers of patients and slices in each part of a study. */
export function describeParts(
  { parts }: StudyData,
): Record<keyof Partition<SliceRef>, { patients: number; slices: number }> {
  const describe = (refs: readonly SliceRef[]) => ({
    patients: new Set(refs.map(({ patient }) => patient)).size,
    slices: refs.length,
  });
  return {
    train: describe(parts.train),
    validation: describe(parts.validation),
    test: describe(parts.test),
  };
}

/** The slice options of a config. */
export function sliceOptions(config: Config): Parameters<typeof openSlices>[1] {
  return {
    axis: config.axis as Axis,
    target: config.target,
    labels: config.labels,
    minTumourVoxels: config.minTumourVoxels,
    maxPerCase: config.maxSlicesPerCase ?? undefined,
    crop: config.crop ?? undefined,
    rescale: config.rescale,
  };
}

/** A seeded choice of at most `count` slices, in their own order. */
export function limit(
  refs: readonly SliceRef[],
  count: number | null,
  seed: number,
): SliceRef[] {
  if (count === null || refs.length <= count) return [...refs];
  const chosen = new Set(new Random(`${seed}/limit`).shuffle(refs).slice(0, count));
  return refs.filter((ref) => chosen.has(ref));
}
