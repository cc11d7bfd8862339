import { join } from "node:path";
import { openDataset } from "../data/sources/brats.ts";
import { InputError } from "../errors.ts";
import { writeFileAtomic } from "../fs.ts";
import { chooseCases } from "../report/choose_cases.ts";
import { documentHtml, documentMarkdown } from "../report/document.ts";
import { readStudy, type Study } from "../report/study_files.ts";
import { type Sheet, studyReport } from "../report/study_report.ts";
import { displayName, parseExperiment } from "./experiment.ts";
import { readRun } from "./run_folder.ts";
import { openPhantom, openSlicesWithProgress } from "./study_data.ts";

/** The page, beside the study's table. */
export const REPORT = "report";

/**
 * Writes `report.html`, and `report.md` with its pictures in `report/`, into a study's folder.
 *
 * @param options.pictures Folder of the data set, where slices of it may be shown; null shows none, but
 * of a phantom.
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
  if (pictures === null && !study.table.context.simulated) return null;
  const [kept] = study.models.filter(({ masks }) => masks.size > 0);
  if (!kept) {
    if (pictures !== null) {
      throw new InputError(`${study.folder} keeps no masks to show: leave out --pictures`);
    }
    return null;
  }
  const { config } = await readRun(join(study.folder, study.parts[0] ?? "", kept.experiment));
  const root = pictures ?? await openPhantom(log);
  const dataset = await openDataset(root, { modality: config.modality });
  try {
    return await chooseCases(study, await openSlicesWithProgress(dataset, config));
  } catch (error) {
    // A phantom that is not today's can no longer be shown; the figures hold all the same.
    if (pictures !== null || !(error instanceof InputError)) throw error;
    log(`No cases are shown: ${error.message}`);
    return null;
  }
}
