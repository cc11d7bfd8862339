import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { mean } from "../../lib/stats/summary.ts";
import { bestOf } from "../../lib/study/choice.ts";
import { openAdapter, runOf as configOf } from "../../lib/study/adapter.ts";
import { readStudyFiles } from "../../lib/study/read_study.ts";
import { runCommand } from "./command_line.ts";
import { assertRecomputed, folder, read, rowOptions } from "./studies.ts";

const chosen = ["--lr", "1e-3,1e-4", "--epochs", "1", "--wise-ft", "0.5,1", "--seeds", "0,1"];
const study = ["--data", "data", ...rowOptions.filter((_, i) => i < 4), "--batch-size", "2"];
const rows = ["--ranks", "4", "--baselines", "vanilla", "--encoder-ranks", "none"];

Deno.test("values are chosen on validation patients at the first seed, and trained at the next", async () => {
  const command = ["experiments", ...study, ...chosen, ...rows, "--test-prompts", "tight-box"];
  const { code, stdout, stderr } = await runCommand([...command, "--out", "chosen"], {
    cwd: folder,
  });
  assertEquals(code, 0, stdout + stderr);
  const { runs, table, records } = await readStudyFiles(join(folder, "chosen"));
  const [first, second] = runs.filter(({ experiment }) => experiment.name === "lora_4");
  const { choice } = first.summary!;
  assertEquals(
    choice!.tried.map(({ learningRate, epochs, wiseFt }) => [learningRate, epochs, wiseFt]),
    [[1e-3, 1, 0.5], [1e-3, 1, 1], [1e-4, 1, 0.5], [1e-4, 1, 1]],
  );
  const { score: _, ...values } = bestOf(choice!.tried);
  assertEquals(choice!.values, values);
  assertEquals([choice!.by, choice!.patients, choice!.slices], ["seed_0", 1, 2]);
  for (const { config } of [first, second]) {
    const { learningRate, epochs, wiseFt } = config;
    assertEquals({ learningRate, epochs, wiseFt }, values);
  }
  // The second seed trains that one alone, on nobody's further judgement.
  assertEquals([second.summary!.choice!.by, second.summary!.choice!.tried], ["seed_0", []]);
  assertEquals(first.epochs.length, 1);
  assertEquals(stdout.match(/LoRA-4[^\n]*epoch 1\/1: loss/g)!.length, 3);

  const row = table.rows.find(({ kind }) => kind === "lora")!;
  assertEquals(row.chosen, [
    { field: "learningRate", values: [values.learningRate, values.learningRate] },
    { field: "wiseFt", values: [values.wiseFt, values.wiseFt] },
  ]);
  const own = records.filter(({ row }) => row === "lora_4").map(({ slices }) =>
    mean(slices.map(({ scores }) => scores["tight-box"]!.dice))
  );
  row.seeds!["tight-box"].forEach((value, i) => assertAlmostEquals(value, own[i], 1e-5));
  assertStringIncludes(await read("chosen", "table.md"), "| Seeds |");
  const report = await read("chosen", "report.md");
  assertStringIncludes(report, "## Choices");
  assertStringIncludes(report, "1 validation patient of seed\\_0, 2 slices");
  await assertRecomputed("chosen");

  // The scored weights are those that were saved; nothing else is left of the candidates.
  const adapter = join(folder, "chosen", "adapters", "seed_0", "lora_4");
  assertEquals((await configOf(adapter))!.learningRate, [values.learningRate]);
  assert((await openAdapter(adapter)).tensors.size > 0);
  const entries = [...Deno.readDirSync(join(folder, "chosen"))].map(({ name }) => name);
  assert(!entries.some((name) => name.startsWith("seed_")), entries.join());
});
