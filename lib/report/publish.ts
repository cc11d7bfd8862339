import { basename, join } from "node:path";
import { openDataset } from "../data/dataset.ts";
import { InputError } from "../errors.ts";
import { writeFileAtomic } from "../fs.ts";
import { parseConfig } from "../study/schema.ts";
import type { StudyResults } from "../study/publish.ts";
import { describeStudy, recomputeStudyFiles, type Study } from "../study/read_study.ts";
import { FILES, tableJson } from "../study/results.ts";
import { openSlicesWithProgress, SAMPLE } from "../study/study_data.ts";
import { chooseCases } from "./choose_cases.ts";
import type { Sheet } from "./contact_sheet.ts";
import { documentHtml, documentMarkdown } from "./document.ts";
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
  /** Writes a file of the study's folder by its path within. */
  readonly write: (file: string, content: Uint8Array | string) => Promise<void>;
  readonly log: (line: string) => void;
}

/** Writes curves, the sample's masks, `table.md` and the report, and shows the table. */
export async function publishStudy(results: StudyResults): Promise<void> {
  const { study, table, sample, write, log } = results;
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
    await write("loss_curves.svg", svg);
  }
  if (sample) {
    const predictions = sample.predictions.map((one) => ({ ...one, name: modelName(one.name) }));
    await write("masks.png", await maskPicture({ ...sample, predictions }));
  }
  await write("table.md", tableMarkdown(table));
  log(tableText(table));
  if (study) await writePages(study, { pictures: null, write, log });
}

/**
 * Computes the table of a finished study anew from its records, and writes `table.json`, `table.md`,
 * `report.html`, and `report.md` with its pictures in `report/`, into its folder.
 *
 * @param options.pictures Folder of the data set, where slices of it may be shown; null shows those of
 * the embedded sample alone.
 * @throws {InputError} if a file of the study is missing or damaged, or the data are not the study's.
 */
export async function writeReport(
  folder: string,
  options: { pictures: string | null; log: (line: string) => void },
): Promise<void> {
  const write = (file: string, content: Uint8Array | string) =>
    writeFileAtomic(join(folder, file), content);
  const files = await recomputeStudyFiles(folder);
  const study = describeStudy(folder, files);
  await writePages(study, { ...options, write });
  await write(FILES.table, tableJson(files.table));
  await write("table.md", tableMarkdown(files.table));
}

async function writePages(study: Study, options: ReportOptions): Promise<void> {
  const { write, log } = options;
  const document = studyReport(study, await openSheet(study, options));
  const { text, files } = await documentMarkdown(document, REPORT);
  const html = documentHtml(document);
  const figures = join(study.folder, REPORT);
  // Figures that the study no longer has would be left over.
  await Deno.remove(figures, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new InputError(`cannot write ${figures}: choose a folder that can be written to`);
    }
  });
  for (const { path, content } of files) await write(path, content);
  await write(`${REPORT}.md`, text);
  await write(`${REPORT}.html`, html);
  log(`Report: ${join(study.folder, `${REPORT}.html`)}`);
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
