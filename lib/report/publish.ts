import { basename, join } from "node:path";
import { openDataset } from "../data/dataset.ts";
import { InputError } from "../errors.ts";
import { writeFileAtomic } from "../fs.ts";
import { displayName, parseExperiment } from "../study/experiment.ts";
import type { StudyResults } from "../study/publish.ts";
import { readStudy, type Study } from "../study/read_study.ts";
import { readRun } from "../study/run_folder.ts";
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

/** The page, beside the study's table. */
export const REPORT = "report";

/** Writes curves, the sample's masks, `table.md` and the report, and shows the table. */
export async function publishStudy(results: StudyResults): Promise<void> {
  const { folder, table, runs, sample, write, log } = results;
  const curves = runs.filter(({ metrics }) => metrics.length > 0).map((run) => ({
    name: modelName(displayName(run.summary.experiment)),
    metrics: [...run.metrics],
    earlyStoppingEpoch: run.summary.earlyStoppingEpoch,
  }));
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
  if (table.rows.some(({ kind }) => kind !== "trivial")) {
    await writeReport(folder, { pictures: null, log });
  }
}

/**
 * Writes `report.html`, and `report.md` with its pictures in `report/`, into a study's folder.
 *
 * @param options.pictures Folder of the data set, where slices of it may be shown; null shows those of
 * the embedded sample alone.
 * @throws {InputError} if a file of the study is missing or damaged, or the data are not the study's.
 */
export async function writeReport(
  folder: string,
  { pictures, log }: { pictures: string | null; log: (line: string) => void },
): Promise<void> {
  const study = await readStudy(folder, {
    nameOf: (experiment, path) => displayName(parseExperiment(experiment, path)),
  });
  const document = studyReport(study, await openSheet(study, { pictures, log }));
  const { text, files } = await documentMarkdown(document, REPORT);
  const html = documentHtml(document);
  // Figures that the study no longer has would be left over.
  await Deno.remove(join(folder, REPORT), { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new InputError(
        `cannot write ${join(folder, REPORT)}: choose a folder that can be written to`,
      );
    }
  });
  for (const { path, content } of files) await writeFileAtomic(join(folder, path), content);
  await writeFileAtomic(join(folder, `${REPORT}.md`), text);
  await writeFileAtomic(join(folder, `${REPORT}.html`), html);
  log(`Report: ${join(folder, `${REPORT}.html`)}`);
}

/** The slices that may be shown, cut as the study cut them; null if there are none. */
async function openSheet(
  study: Study,
  { pictures, log }: { pictures: string | null; log: (line: string) => void },
): Promise<Sheet | null> {
  if (pictures === null && study.table.context.dataset !== basename(SAMPLE)) return null;
  const [kept] = study.models.filter(({ masks }) => masks.size > 0);
  if (!kept) {
    if (pictures !== null) {
      throw new InputError(`${study.folder} keeps no masks to show: leave out --pictures`);
    }
    return null;
  }
  const { config } = await readRun(join(study.folder, study.parts[0] ?? "", kept.experiment));
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
