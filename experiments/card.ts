// ./run card ADAPTER --study STUDY: the adapter's model card, of the figures of the study that tested such models.
import { basename, join } from "node:path";
import * as v from "valibot";
import { openDataset } from "../lib/data/dataset.ts";
import type { Controls } from "../lib/evaluate/controls/score_controls.ts";
import { decodeRunLengths } from "../lib/formats/run_length.ts";
import { InputError } from "../lib/errors.ts";
import { writeFileAtomic } from "../lib/fs.ts";
import { ADAPTER_FILES } from "../lib/adapters/adapter.ts";
import { documentMarkdown } from "../lib/report/document.ts";
import { type Failure, type FailureKind, FAILURES, worstSlices } from "../lib/report/failures.ts";
import { modelCard } from "../lib/report/model_card.ts";
import type { SheetGroup, SheetSlice } from "../lib/report/slice_sheet.ts";
import { openAdapter, readOrigin } from "../lib/study/adapter.ts";
import { runCommand } from "../lib/study/main.ts";
import { describeStudy, readStudyFiles, type StudyFiles } from "../lib/study/read_study.ts";
import { readJson } from "../lib/study/results.ts";
import { parseConfig } from "../lib/study/schema.ts";
import { openSlicesWithProgress } from "../lib/study/study_data.ts";
import { adapterPath } from "../lib/study/shipped.ts";
import { commands } from "./commands.ts";

/** Slices that are shown. */
const WORST = 20;

const controlsSchema = v.looseObject({ model: v.string(), scores: v.array(v.looseObject({})) });

/** Pictures of failures by their kind, cut as the study cut them. */
async function drawFailures(
  failures: readonly Failure[],
  files: StudyFiles,
  { row, data, healthy }: { row: string; data: string; healthy: string | null },
): Promise<SheetGroup[]> {
  const config = parseConfig(files.runs[0].config, "the study");
  const sets = [];
  for (const [root, kind] of [[data, "tumour"], [healthy, "tumour-free"]] as const) {
    if (root === null) continue;
    const dataset = await openDataset(root, { ...config, patients: null });
    sets.push(await openSlicesWithProgress(dataset, config, { kind }));
  }
  const slices = new Map<FailureKind, SheetSlice[]>();
  for (const { id, part, kind, dice, patient } of failures) {
    const set = sets.find(({ refs }) => refs.some((ref) => ref.id === id));
    if (!set) {
      if (kind === "invented" && healthy === null) continue;
      throw new InputError(`${data} has no slice ${id}: name the data set of the study`);
    }
    const ref = set.refs.find((ref) => ref.id === id)!;
    const { image, mask: truth } = await set.read(ref);
    const records = files.records.find((one) => one.row === row && one.part === part)!;
    const found = records.unpromptedMasks?.find((mask) => mask.id === id);
    const mask = found && decodeRunLengths(found);
    if (mask && mask.length !== truth.length) {
      throw new InputError(`${id} is of another size in ${data}: name the data set of the study`);
    }
    const caption = kind === "invented" ? patient : `${patient}, Dice ${dice.toFixed(2)}`;
    const shown = { ...ref, image, truth, mask, caption };
    slices.set(kind, [...slices.get(kind) ?? [], shown]);
  }
  return (Object.keys(FAILURES) as FailureKind[]).flatMap((kind) => {
    const own = slices.get(kind);
    return own ? [{ heading: FAILURES[kind], slices: own }] : [];
  });
}

/** Names of planes by the ends of their cases' names. */
function readPlanes(texts: readonly string[]): Map<string, string> {
  return new Map(texts.map((text) => {
    const [name, ending, ...rest] = text.split("=");
    if (!name || !ending || rest.length > 0) {
      throw new InputError(
        `--planes cannot hold ${text}: give names and endings, as in axial=-000`,
      );
    }
    return [ending, name];
  }));
}

await runCommand(commands.card, async ({ argument, values }) => {
  const path = adapterPath(argument);
  const { study: folder, data, healthy, controls: controlFiles } = values;
  const out = values.out ?? path;
  const adapter = await openAdapter(path);
  const origin = await readOrigin(path, adapter);
  if (!origin) throw new InputError(`${path} does not say what it was trained by: it has no card`);
  const { size: bytes } = await Deno.stat(join(path, ADAPTER_FILES.weights));
  const files = await readStudyFiles(folder);
  const row = origin.experiment.name;
  const failures = worstSlices(files, { row, count: WORST });
  const controls: [string, Controls][] = [];
  for (const file of controlFiles) {
    const found = await readJson(controlsSchema, file);
    if (!found) throw new InputError(`there is no ${file}: name a controls.json of ./run controls`);
    controls.push([found.model, found as unknown as Controls]);
  }
  const card = modelCard({
    adapter: { name: basename(path), origin, bytes },
    study: describeStudy(folder, files),
    files,
    planes: readPlanes(values.planes),
    failures,
    pictures: data ? await drawFailures(failures, files, { row, data, healthy }) : [],
    controls,
  });
  const { text, files: pictures } = await documentMarkdown(card, "model_card");
  for (const { path: file, content } of pictures) await writeFileAtomic(join(out, file), content);
  await writeFileAtomic(join(out, "model_card.md"), text);
  console.log(`Written: ${join(out, "model_card.md")}`);
});
