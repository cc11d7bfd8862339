import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { presenceCandidates } from "../../lib/evaluate/presence.ts";
import { openAdapter, presenceRule, readOrigin } from "../../lib/study/adapter.ts";
import { readStudyFiles } from "../../lib/study/read_study.ts";
import { runCommand } from "./command_line.ts";
import { assertRecomputed, folder, read, readJson, rowOptions } from "./studies.ts";
import { tinyDataset } from "./tiny_dataset.ts";

/** A data set of six more patients without any tumour. */
const free = await tinyDataset(6, { name: "FREE", tumour: false });
globalThis.addEventListener("unload", () => Deno.removeSync(free, { recursive: true }));

const healthy = ["--healthy", join(free, "data"), "--healthy-share", "0.4", "--iou-loss", "1"];
const study = ["--data", "data", ...healthy, ...rowOptions, "--out", "healthy"];
const rows = ["--ranks", "4", "--baselines", "vanilla", "--encoder-ranks", "none"];
const prompts = ["--test-prompts", "tight-box,whole-image", "--wise-ft", "1"];

Deno.test("tumour-free slices are trained on, scored and decided about by a rule of validation patients", async () => {
  const command = ["experiments", ...study, ...rows, ...prompts];
  const { code, stdout, stderr } = await runCommand(command, { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  assertStringIncludes(
    stdout,
    "Tumour-free: 12 slices of 6 patients; 8 in the training part, 2 to",
  );
  const { runs, records, table } = await readStudyFiles(join(folder, "healthy"));
  for (const { split, presence, experiment } of runs) {
    // Split like the others: of six patients each four, one and one.
    const sizes = [split.train, split.validation, split.test].map((patients) =>
      patients.filter((name) => name.startsWith("FREE-")).length
    );
    assertEquals(sizes, [4, 1, 1]);
    const own = records.find(({ row }) => row === experiment.name)!;
    assertEquals(own.healthy!.map(({ tumourPixels }) => tumourPixels), [0, 0]);
    assertEquals(own.healthy!.map(({ scores }) => Object.keys(scores)), [["whole-image"], [
      "whole-image",
    ]]);
    assertEquals(own.unpromptedMasks!.length, own.slices.length + 2);
    if (presence) assertEquals([presence.tumourSlices, presence.healthySlices], [2, 2]);
  }
  // Dice under prompts are of the slices with tumour alone.
  const vanilla = table.rows.find(({ kind }) => kind === "vanilla")!;
  assertEquals(vanilla.dice["whole-image"].n, 1);
  assertEquals(vanilla.unprompted!.all.healthyPainted!.n, 1);
  const painted = records[0].healthy!.map(({ scores }) => scores["whole-image"]!.healthyPainted!);
  assertAlmostEquals(vanilla.unprompted!.all.healthyPainted!.mean, (painted[0] + painted[1]) / 2);
  assertStringIncludes(await read("healthy", "table.md"), "Tumour-free slices painted (%)");
  assertStringIncludes(await read("healthy", "report.md"), "Without a prompt, with and without");
  await assertRecomputed("healthy");
});

Deno.test("an adapter holds the rule, and evaluate applies it", async () => {
  const path = join(folder, "healthy", "adapters", "lora_4");
  const origin = await readOrigin(path, await openAdapter(path));
  const { runs } = await readStudyFiles(join(folder, "healthy"));
  const { presence } = runs.find(({ experiment }) => experiment.name === "lora_4")!;
  assert(presence, "a rule was chosen");
  assertEquals(presenceRule(origin), { score: presence.score, threshold: presence.threshold });
  assertEquals(presenceRule(null), null);
  assertEquals(
    presence.candidates.length,
    presenceCandidates([
      { tumour: true, painted: true, scores: { meanLogit: 1, maxLogit: 1, stability: 1, iou: 1 } },
      { tumour: false, painted: true, scores: { meanLogit: 0, maxLogit: 0, stability: 0, iou: 0 } },
    ]).length,
  );
  const { code, stdout, stderr } = await runCommand(
    ["evaluate", path, "--data", join(free, "data"), "--whole-volumes", "--out", "free.json"],
    { cwd: folder },
  );
  assertEquals(code, 0, stdout + stderr);
  assertMatch(stdout, /LoRA-4.* from [-\d.]+ on/);
  const { unprompted, slices } = await readJson("free.json");
  assertEquals(unprompted.rules, [presenceRule(origin)]);
  assertEquals(slices.length, 2); // of the one patient that it was neither trained nor chosen on
  const counts = slices.map((slice: { presence: Record<string, number> }) =>
    slice.presence[presence.score] >= presence.threshold
  );
  const painted = slices.filter((slice: never, i: number) =>
    counts[i] && slice["scores"]["whole-image"]["healthyPainted"] === 1
  );
  assertEquals(unprompted.ruled.healthyPainted.mean, painted.length / 2);
});

Deno.test("a share without tumour-free slices is refused before anything is trained", async () => {
  const args = [
    "experiments",
    "--data",
    "data",
    ...rowOptions,
    "--healthy-share",
    "0.3",
    "--out",
    "x",
  ];
  const { code, stderr } = await runCommand([...args, ...rows], { cwd: folder });
  assertEquals(code, 1);
  assertStringIncludes(
    stderr,
    "error: data has no tumour-free slice: name a data set of such with",
  );
  assert(!await Deno.stat(join(folder, "x")).then(() => true, () => false));
});
