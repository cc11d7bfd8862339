import { basename, join } from "node:path";
import { openDataset } from "../data/dataset.ts";
import { InputError } from "../errors.ts";
import { parseConfig } from "../study/schema.ts";
import { Manifest, requireStudy, rowOf, taskManifests, unverifiable } from "../study/manifest.ts";
import type { StudyResults, StudyWriter } from "../study/publish.ts";
import {
  describeStudy,
  recomputeStudyFiles,
  requireReadable,
  type Study,
} from "../study/read_study.ts";
import { type ComparisonTable, FILES, tableJson } from "../study/results.ts";
import { openSlicesWithProgress, SAMPLE } from "../study/study_data.ts";
import { chooseCases } from "./choose_cases.ts";
import type { Sheet } from "./contact_sheet.ts";
import { type DocumentFile, documentHtml, documentMarkdown } from "./document.ts";
import { imageEvents } from "./event_files.ts";
import { eventFilePath } from "../study/event_log.ts";
import { maskPicture } from "./mask_pictures.ts";
import { modelName } from "./format.ts";
import { lossCurves } from "./loss_curves.ts";
import { paper } from "./palette.ts";
import { studyReport } from "./study_report.ts";
import { standalone } from "./svg.ts";
import { tableMarkdown, tableText } from "./table.ts";

/** Name of the page, beside the study's table. */
const REPORT = "report";

/** Data and outlets of a report. */
interface ReportOptions {
  /** Folder of the data set, where slices of it may be shown; null shows those of the sample alone. */
  readonly pictures: string | null;
  readonly files: StudyWriter;
  readonly log: (line: string) => void;
}

/**
 * Writes curves, the sample's masks, `table.md` and the report, and shows the table; while tasks are missing,
 * `partial.md` alone.
 */
export async function publishStudy(results: StudyResults): Promise<void> {
  const { study, table, sample, files, log } = results;
  if (results.isPartial) {
    await files.write("partial.md", tableMarkdown(table));
    return log(tableText(table));
  }
  const curves = (study && study.parts.length === 0 ? study.models : []).flatMap(
    ({ name, trainings }) =>
      trainings.map(({ epochs, earlyStoppingEpoch }) => ({
        name: modelName(name),
        metrics: epochs,
        earlyStoppingEpoch,
      })),
  );
  if (curves.length > 0) {
    const svg = standalone(lossCurves(curves, paper), "Loss and Dice by epoch", paper.ground);
    await files.write("loss_curves.svg", svg);
  }
  let picture: Uint8Array | null = null;
  if (sample) {
    const predictions = sample.predictions.map((one) => ({ ...one, name: modelName(one.name) }));
    picture = await maskPicture({ ...sample, predictions });
    await files.write("masks.png", picture);
  }
  await files.write("table.md", tableMarkdown(table));
  log(tableText(table));
  if (!study) return;
  const pages = await writePages(study, { pictures: null, files, log });
  if (!results.tensorboard) return;
  const sheet = pages.find(({ path }) => path.endsWith(CASES));
  const png = sheet ? sheet.content as Uint8Array : picture;
  if (png === null) return;
  const time = Math.floor(Date.parse(study.environment.date) / 1000);
  await files.write(eventFilePath(), imageEvents("contact sheet", { png, time }));
}

/**
 * Computes the table of a finished study anew from its records, and writes `table.json`, `table.md`,
 * `report.html`, and `report.md` with its pictures in `report/`, into its folder.
 *
 * @param options.pictures Folder of the data set, where slices of it may be shown; null shows those of
 * the embedded sample alone.
 * @throws {InputError} if a file of the study is missing, damaged or changed, or the data are not the
 * study's.
 */
export async function writeReport(
  folder: string,
  options: { pictures: string | null; log: (line: string) => void },
): Promise<void> {
  const found = await recomputeStudyFiles(folder);
  const manifest = await Manifest.open(folder);
  if (!manifest.isThere) options.log(unverifiable(folder));
  await writePages(describeStudy(folder, found), { ...options, files: manifest });
  await writeTable(found.table, manifest);
}

async function writeTable(table: ComparisonTable, files: StudyWriter): Promise<void> {
  await files.write(FILES.table, tableJson(table));
  await files.write("table.md", tableMarkdown(table));
}

/**
 * Checks every file of a study against its manifest, and says what was checked.
 *
 * @param options.accept Take what was changed, and say so in the table.
 * @throws {InputError} naming the first file that was changed.
 */
export async function verifyStudy(
  folder: string,
  { accept, log }: { accept: boolean; log: (line: string) => void },
): Promise<void> {
  await requireStudy(folder);
  const manifest = await Manifest.open(folder);
  const tasks = await taskManifests(folder);
  if (accept) {
    const isFinished = await Deno.stat(join(folder, FILES.table)).then(() => true, () => false);
    if (isFinished) await requireReadable(folder); // or nothing is taken
    await manifest.accept(tasks);
    for (const task of tasks) await task.accept();
    if (isFinished) await writeTable((await recomputeStudyFiles(folder)).table, manifest);
  }
  if (!manifest.isThere) {
    throw new InputError(
      `${unverifiable(folder)} --accept-changes lists them as they are now`,
    );
  }
  let count = 0;
  let missing = 0;
  for (const own of [manifest, ...tasks]) {
    const rows = Map.groupBy(own.paths, (path) => rowOf(path) ?? "of the whole study");
    const changes = await own.changes();
    const states = new Map(changes.map(({ path, found }) => [path, found ? "CHANGED" : "missing"]));
    for (const [row, files] of rows) {
      log(row);
      for (const file of files) log(`  ${states.get(file) ?? "sound  "} ${file}`);
    }
    count += own.paths.length - changes.length;
    missing += changes.length;
  }
  const others = await manifest.unlisted(tasks);
  if (others.length > 0) log(`Not of the study: ${others.join(", ")}`);
  for (const sentence of [manifest, ...tasks].flatMap(({ accepted }) => accepted)) log(sentence);
  for (const own of [manifest, ...tasks]) await own.require();
  log(
    `${count} files of ${folder} are as the study left them${
      missing > 0 ? `; ${missing} are missing` : ""
    }.`,
  );
}

/** Picture of the contact sheet among those of a report. */
const CASES = "/cases.png";

async function writePages(study: Study, options: ReportOptions): Promise<readonly DocumentFile[]> {
  const { files: writer, log } = options;
  const document = studyReport(study, await openSheet(study, options));
  const { text, files } = await documentMarkdown(document, REPORT);
  const html = documentHtml(document);
  // Figures that the study no longer has would be left over.
  await writer.remove(REPORT).catch((error) => {
    if (error instanceof InputError) throw error;
    throw new InputError(
      `cannot write ${join(study.folder, REPORT)}: choose a folder that can be written to`,
    );
  });
  for (const { path, content } of files) await writer.write(path, content);
  await writer.write(`${REPORT}.md`, text);
  await writer.write(`${REPORT}.html`, html);
  log(`Report: ${join(study.folder, `${REPORT}.html`)}`);
  return files;
}

/** The slices that may be shown, cut as the study cut them; null if there are none. */
async function openSheet(
  study: Study,
  { pictures, log }: ReportOptions,
): Promise<Sheet | null> {
  if (pictures === null && study.table.context.dataset !== basename(SAMPLE)) return null;
  const [kept] = study.models.filter(({ masks }) => masks.size > 0);
  if (!kept) {
    if (pictures !== null) {
      throw new InputError(`${study.folder} keeps no masks to show: leave out --pictures`);
    }
    return null;
  }
  const config = parseConfig(kept.config, study.folder);
  const root = pictures ?? SAMPLE;
  const dataset = await openDataset(root, { modality: config.modality });
  try {
    return await chooseCases(study, await openSlicesWithProgress(dataset, config));
  } catch (error) {
    // Of another sample than today's nothing can be shown; the figures hold all the same.
    if (pictures !== null || !(error instanceof InputError)) throw error;
    log(`No cases are shown: ${error.message}`);
    return null;
  }
}
