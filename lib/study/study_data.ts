import { join } from "node:path";
import { asideLine, type Dataset, openDataset } from "../data/dataset.ts";
import type { MadeSlices } from "../data/counterfactual/made_slices.ts";
import { mirroredHalves } from "../data/counterfactual/mirrored_half.ts";
import { pastedTumours } from "../data/counterfactual/pasted_tumour.ts";
import { joinSlices } from "../data/joined_slices.ts";
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

/** Slices that are left to score where every patient is trained on. */
const SEEN_SLICES = 16;

/** Limit of the figures of a training on every patient. */
export const TRAINED_ON_ALL =
  "Every patient is trained on: the figures are of other slices of the same patients, and say no more than " +
  "that nothing broke.";

/** The slices of a study and who is in which part of its split. */
export interface StudyData {
  /** Name of the data set, without its path. */
  readonly name: string;
  /** Reads slices, with tumour and without. */
  readonly slices: SliceSet;
  /** Patients of each part. */
  readonly split: Split;
  /** Slices with tumour of each part. */
  readonly parts: Partition<SliceRef>;
  /** Tumour-free slices of each part; none where the config asks for none. */
  readonly healthy: Partition<SliceRef>;
}

/**
 * Opens the data sets of a config, the embedded sample if it names none, and splits them by patient.
 *
 * @param log Is told, line by line, what is found and what was left out.
 * @param open Data of another part of the same study: they are split anew, and not opened again.
 * @throws {InputError} if the data cannot be used.
 * @throws {GuardError} if a patient is in two parts.
 */
export async function openStudyData(
  config: Config,
  log: (line: string) => void,
  open?: StudyData,
): Promise<StudyData> {
  const dataset = open?.slices.dataset ?? await openDataset(config.data ?? SAMPLE, config);
  const both = open ? kindsOf(open.slices) : await openBoth(dataset, config);
  const { slices, tumour, healthy: found } = both;
  if (!open) {
    tellData(slices, config, log);
    tellCrop(slices, config, log);
  }
  const seed = dataSeed(config);
  const split = config.trainOnAll
    ? wholeSplit([...tumour, ...found], seed)
    : splitOf({ tumour, healthy: found }, config);
  const all = config.trainOnAll ? seenParts(tumour) : partition(tumour, split);
  if (all.validation.length === 0) {
    throw new InputError("--train-on-all needs patients with several slices: raise --max-slices");
  }
  const limits = { train: config.maxTrain, validation: config.maxValidation, test: config.maxTest };
  const limited = (from: Partition<SliceRef>): Partition<SliceRef> => ({
    train: limit(from.train, limits.train, seed),
    validation: limit(from.validation, limits.validation, seed),
    test: limit(from.test, limits.test, seed),
  });
  const parts = limited(all);
  const free = limited(config.trainOnAll ? seenParts(found) : partsOf(found, split));
  const healthy = config.healthyShare > 0 ? free : { ...free, train: [] };
  const shared = split.validationSharesTrainingPatients ? ["train", "validation"] : [];
  if (!config.trainOnAll) {
    checkPatients({ ...parts }, { shared });
    checkPatients({ ...healthy }, { shared });
  }
  if (config.healthyShare > 0 && healthy.train.length === 0) {
    throw new InputError(
      "--healthy-share finds no tumour-free slice of a training patient: name a data set of such with --healthy",
    );
  }
  log(
    `${dataset.name}: ${tumour.length} slices` +
      `; using ${parts.train.length} slices to train, ${parts.validation.length} to validate, ${parts.test.length} to test.`,
  );
  if (found.length > 0) {
    log(
      `Tumour-free: ${found.length} slices of ${
        new Set(found.map(({ patient }) => patient)).size
      } patients` +
        `; ${healthy.train.length} in the training part, ${healthy.validation.length} to validate, ${healthy.test.length} to test.`,
    );
  }
  if (config.trainOnAll) log(TRAINED_ON_ALL);
  else if (split.validationSharesTrainingPatients) {
    log(
      "Two patients are too few for a validation patient: validation slices are held out from the training patient.",
    );
  }
  return await withCounterfactuals(
    { name: dataset.name, slices, split, parts, healthy },
    config,
    log,
  );
}

/**
 * Adds counterfactuals of the parts that are trained and validated on, where a config asks for them: a slice of
 * either kind is made of those of its own part alone, and what is tested on stays as it was scanned.
 */
async function withCounterfactuals(
  data: StudyData,
  config: Config,
  log: (line: string) => void,
): Promise<StudyData> {
  if (!config.counterfactuals) return data;
  const { slices } = data;
  const [parts, healthy] = [{ ...data.parts }, { ...data.healthy }];
  const made = new Map<string, MadeSlices>();
  for (const part of ["train", "validation"] as const) {
    const mirrored = await mirroredHalves(slices, parts[part]);
    const pasted = await pastedTumours(slices, parts[part], healthy[part], { each: "host" });
    parts[part] = [...parts[part], ...pasted.refs];
    healthy[part] = [...healthy[part], ...mirrored.refs];
    for (const set of [mirrored, pasted]) for (const { id } of set.refs) made.set(id, set);
    log(
      `Counterfactuals of the ${part} part: ${mirrored.refs.length} slices without their tumour, its half mirrored ` +
        `from the other; ${pasted.refs.length} tumour-free ones with a tumour pasted in.`,
    );
  }
  const read: SliceSet["read"] = (ref) => (made.get(ref.id) ?? slices).read(ref);
  return { ...data, slices: { ...slices, read }, parts, healthy };
}

/** Slices with tumour and tumour-free ones, and a reader of both. */
interface BothKinds {
  readonly slices: SliceSet;
  readonly tumour: readonly SliceRef[];
  readonly healthy: readonly SliceRef[];
}

/** Slices that were cut before, with tumour and without. */
function kindsOf(slices: SliceSet): BothKinds {
  const hasTumour = ({ tumourVoxels }: SliceRef) => tumourVoxels > 0;
  const healthy = slices.refs.filter((ref) => !hasTumour(ref));
  return { slices, tumour: slices.refs.filter(hasTumour), healthy };
}

/** Cuts the slices with tumour of a data set, and, where the config asks for such, those without. */
async function openBoth(dataset: Dataset, config: Config): Promise<BothKinds> {
  const tumour = await openSlicesWithProgress(dataset, config);
  if (config.healthy === null && config.healthyShare === 0) {
    return { slices: tumour, tumour: tumour.refs, healthy: [] };
  }
  const sets = [dataset];
  if (config.healthy !== null) {
    const other = await openDataset(config.healthy, { ...config, patients: null });
    if (other.root !== dataset.root) sets.push(other);
  }
  const free: SliceSet[] = [];
  for (const set of sets) {
    free.push(await openSlicesWithProgress(set, config, { kind: "tumour-free" }));
  }
  const healthy = free.flatMap(({ refs }) => refs);
  if (healthy.length === 0) {
    throw new InputError(
      `${
        config.healthy ?? config.data
      } has no tumour-free slice: name a data set of such with --healthy`,
    );
  }
  return { slices: joinSlices(tumour, ...free), tumour: tumour.refs, healthy };
}

/**
 * Split of the patients with tumour, and of those without any by the same shares. Who has slices of both
 * kinds is where the tumour is.
 */
function splitOf(
  { tumour, healthy }: Pick<BothKinds, "tumour" | "healthy">,
  config: Config,
): Split {
  const { folds, fold } = config;
  const seed = dataSeed(config);
  const splitAlone = (patients: readonly string[]) =>
    folds === null
      ? splitPatients(patients, { seed, fractions: fractionsOf(config) })
      : foldPatients(patients, { seed, folds, fold: fold ?? 1, validation: config.innerShare });
  const patients = new Set(tumour.map(({ patient }) => patient));
  const split = splitAlone([...patients]);
  const others = new Set(healthy.map(({ patient }) => patient)).difference(patients);
  if (others.size === 0) return split;
  const own = splitAlone([...others]);
  if (own.validationSharesTrainingPatients !== split.validationSharesTrainingPatients) {
    throw new InputError(
      `${config.healthy} has ${others.size} patients: give three or more, so that each part has one`,
    );
  }
  const both = (part: keyof Partition<string>) => [...split[part], ...own[part]].sort();
  return { ...split, train: both("train"), validation: both("validation"), test: both("test") };
}

/** Split of a training on every patient: none is left to validate or to test on. */
function wholeSplit(refs: readonly SliceRef[], seed: number): Split {
  const train = [...new Set(refs.map(({ patient }) => patient))].sort();
  return { seed, train, validation: [], test: [], validationSharesTrainingPatients: true };
}

/**
 * All slices to train on but one each of a few patients who have several; these show that nothing broke.
 */
function seenParts(refs: readonly SliceRef[]): Partition<SliceRef> {
  const several = [...Map.groupBy(refs, ({ patient }) => patient).values()]
    .filter(({ length }) => length > 1);
  const few = several.slice(0, SEEN_SLICES).map(([first]) => first);
  return { train: refs.filter((ref) => !few.includes(ref)), validation: few, test: few };
}

/** Tumour-free slices by the part of their patient; a part may have none. */
function partsOf(refs: readonly SliceRef[], split: Split): Partition<SliceRef> {
  const of = (patients: readonly string[]) => {
    const wanted = new Set(patients);
    return refs.filter(({ patient }) => wanted.has(patient));
  };
  return { train: of(split.train), validation: of(split.validation), test: of(split.test) };
}

/** Says whose the cases of a data set are, what was left aside of it, what is odd about its files, and how its labels are read. */
export function tellData(
  { dataset, refs, notes, labels }: SliceSet,
  config: Config,
  log: (line: string) => void,
): void {
  log(`${dataset.name}: ${dataset.grouping}.`);
  const cut = new Set(refs.map(({ caseId }) => caseId));
  const reason = `has no slice of ${config.minTumourVoxels} tumour pixels or more`;
  const empty = dataset.cases.filter(({ id }) => !cut.has(id)).map(({ id }) => ({
    name: id,
    reason,
  }));
  const aside = asideLine(dataset.name, [...dataset.aside, ...empty]);
  for (const line of [...aside ? [aside] : [], ...noteLines(notes)]) log(line);
  if (labels === null) return;
  const source = dataset.layout === "nnU-Net" ? "dataset.json" : "the names of the cases";
  const why = config.labels === null ? `, by ${source}` : "";
  log(`Labels: ${labels} (${LABEL_SCHEMES[labels].about})${why}.`);
}

/**
 * Cuts a data set's slices, saying how far it is: a large one takes minutes the first time.
 *
 * @param options.kind Slices with tumour, tumour-free ones, or every slice of a volume.
 */
export async function openSlicesWithProgress(
  dataset: Dataset,
  config: Config,
  { kind = "tumour" }: { kind?: "tumour" | "tumour-free" | "all" } = {},
): Promise<SliceSet> {
  const progress = new Progress({
    label: `Cutting slices of ${dataset.name}`,
    total: dataset.cases.length,
    unit: "cases",
  });
  let cut = false;
  const slices = await openSlices(dataset, {
    ...sliceOptions(config),
    ...(kind === "tumour-free" && { tumourFree: true }),
    ...(kind === "all" && { minTumourVoxels: 0, maxPerCase: undefined }),
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
  const { slices } = await openBoth(study.slices.dataset, row);
  tellCrop(slices, row, log);
  const found = new Map(slices.refs.map((ref) => [ref.id, ref]));
  const keptOf = (refs: readonly SliceRef[]) => refs.flatMap(({ id }) => found.get(id) ?? []);
  const kept = (part: keyof Partition<SliceRef>) => {
    const refs = keptOf(study.parts[part]);
    if (refs.length > 0) return refs;
    throw new InputError(
      `crop ${row.crop} and axis ${row.axis} leave no slice of the ${part} part: choose others`,
    );
  };
  const parts = { train: kept("train"), validation: kept("validation"), test: kept("test") };
  const { train, validation, test } = study.healthy;
  const healthy = { train: keptOf(train), validation: keptOf(validation), test: keptOf(test) };
  return await withCounterfactuals({ ...study, slices, parts, healthy }, row, log);
}

/** Thumbnails by the list of slices that they are of: all rows of a part are trained on one list. */
const thumbnails = new WeakMap<readonly SliceRef[], Promise<Thumbnails>>();

/** Thumbnails of the training slices, made once. */
export function trainingThumbnails(
  { slices, parts: { train }, healthy }: StudyData,
): Promise<Thumbnails> {
  const made = thumbnails.get(train) ?? Thumbnails.of(slices, [...train, ...healthy.train]);
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

/** Numbers of patients and slices with tumour in each part of a study. */
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

/**
 * Slice that `--sample` names, by itself or by its case; else the test slice of median area.
 *
 * @throws {InputError} if there is no such slice or case.
 */
export function chooseSample(data: StudyData, name: string | null): SliceRef {
  const byArea = (refs: readonly SliceRef[]) =>
    [...refs].sort((a, b) => a.tumourVoxels - b.tumourVoxels || a.id.localeCompare(b.id));
  if (name === null) {
    const sorted = byArea(data.parts.test);
    return sorted[sorted.length >> 1];
  }
  const matching = data.slices.refs.filter(({ id, caseId }) => id === name || caseId === name);
  if (matching.length === 0) {
    throw new InputError(
      `--sample ${name} is no case or slice of ${data.name}: name one such as ${
        data.parts.test[0].id
      }`,
    );
  }
  return byArea(matching).at(-1)!;
}
