import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { openAdapter, presenceRule, readOrigin } from "../../lib/study/adapter.ts";
import { readStudyFiles } from "../../lib/study/read_study.ts";
import { killCommand, runCommand } from "./command_line.ts";
import { folder, read, rowOptions } from "./studies.ts";
import { tinyDataset } from "./tiny_dataset.ts";

const free = await tinyDataset(6, { name: "FREE", tumour: false });
globalThis.addEventListener("unload", () => Deno.removeSync(free, { recursive: true }));

const healthy = ["--healthy", join(free, "data"), "--healthy-share", "0.4", "--iou-loss", "1"];
const rows = ["--ranks", "4", "--baselines", "vanilla", "--encoder-ranks", "none"];
const study = [
  "experiments",
  "--data",
  "data",
  ...healthy,
  ...rowOptions,
  ...rows,
  "--wise-ft",
  "1",
];
const scored = ["--test-prompts", "tight-box,jittered-box,point,whole-image"];

async function succeed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(args, { cwd: folder });
  assertEquals(code, 0, stdout + stderr);
  return stdout;
}

Deno.test("an adapter of every patient ships with a card of the figures of a study that tested such models", async () => {
  await succeed(...study, ...scored, "--out", "tested");
  const all = ["--train-on-all", "--no-early-stopping", "--keep", "last", "--adapter-dtype", "f16"];
  const stdout = await succeed(...study, ...all, "--presence-rule", "iou=0.25", "--out", "shipped");
  assertStringIncludes(stdout, "Every patient is trained on");

  const path = join(folder, "shipped", "adapters", "lora_4");
  const origin = await readOrigin(path, await openAdapter(path));
  assertEquals(presenceRule(origin), { score: "iou", threshold: 0.25 });
  assertEquals([origin!.split.train.length, origin!.split.test], [12, []]);
  const { runs, table, records } = await readStudyFiles(join(folder, "shipped"));
  // Of two slices of each patient one is left to see that nothing broke.
  const { train, test } = runs[0].data;
  assertEquals([train.slices, test.slices, table.context.scoredOn], [6, 6, "train"]);
  assertEquals(records[0].slices.length, 6);
  assertMatch(await read("shipped", "table.md"), /train split/);

  await succeed(
    "card",
    path,
    "--study",
    "tested",
    "--data",
    "data",
    "--healthy",
    join(free, "data"),
  );
  const card = await read("shipped", "adapters", "lora_4", "model_card.md");
  const tested = (await readStudyFiles(join(folder, "tested"))).table.rows
    .find(({ kind }) => kind === "lora")!;
  const dice = (100 * tested.dice["jittered-box"].mean).toFixed(1);
  assertMatch(card, new RegExp(`\\| all \\| 1 \\| 2 \\|[^\\n]* ${dice} \\|`));
  assertStringIncludes(card, "Trained on 12 patients of data and data; 0 patients to validate");
  assertStringIncludes(card, "estimated IoU 0.250 on");
  assert((await Deno.readFile(join(path, "model_card", "worst_slices.png"))).length > 1000);

  const { code, stderr } = await runCommand(
    [...study, ...all, "--lr", "1e-3,1e-4", "--out", "refused"],
    { cwd: folder },
  );
  assertEquals(code, 1);
  assertStringIncludes(
    stderr,
    "error: --train-on-all leaves no patient to choose on: give one --lr",
  );
});

Deno.test("a choice among trainings that was killed goes on, and comes to the same bits", async () => {
  const args = [
    "experiments",
    "--data",
    "data",
    ...rowOptions.slice(2, 4),
    "--batch-size",
    "2",
    ...rows,
  ];
  const chosen = [
    "--lr",
    "1e-3,3e-3",
    "--epochs",
    "1",
    "--wise-ft",
    "1",
    "--test-prompts",
    "tight-box",
  ];
  await succeed(...args, ...chosen, "--out", "whole");
  const once = join("killed", "lora_4", "choice_1", "trained.json");
  await killCommand([...args, ...chosen, "--out", "killed"], { cwd: folder, once });
  const stdout = await succeed("experiments", "--resume", "killed");
  // The first training is read, the second trained.
  assertEquals(stdout.match(/epoch 1\/1: loss/g)!.length, 1);
  const weights = (out: string) =>
    Deno.readFile(join(folder, out, "adapters", "lora_4", "adapter_model.safetensors"));
  assertEquals(await weights("killed"), await weights("whole"));
});
