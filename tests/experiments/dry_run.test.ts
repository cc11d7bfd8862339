import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { estimateText } from "../../lib/report/estimate_table.ts";
import { runCommand } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";

/** Names of everything below a folder that is not a folder. */
async function filesBelow(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) found.push(...await filesBelow(join(folder, name)));
    else found.push(name);
  }
  return found;
}

Deno.test("--dry-run says what a study would train and take, and leaves slices in the cache alone", async () => {
  const folder = await tinyDataset(6);
  try {
    await Deno.writeTextFile(join(folder, "study.yaml"), "epochs: 3\nbatchSize: 2\ndryRun: true\n");
    const data = "data\x1b]0;owned\x07"; // would name the terminal's window
    await Deno.rename(join(folder, "data"), join(folder, data));
    const args = ["--config", "study.yaml", "--data", data, "--side", "64", "--folds", "2"];
    const { code, stdout, stderr } = await runCommand(
      ["experiments", ...args, "--ranks", "2,4", "--save-modules", "none"],
      { cwd: folder },
    );
    assertEquals(code, 0, stdout + stderr);
    assertMatch(stdout, /data\ufffd\]0;owned\ufffd: 6 cases of 6 patients, 12 slices/);
    // deno-lint-ignore no-control-regex
    assert(!/[\x07\x1b]/.test(stdout + stderr), "control characters reach the terminal");
    // Half of the patients test in each fold, one of the others validates: 2 of 2 slices train.
    assertMatch(stdout, /fold_1: train 2 patients, 4 slices; .*; test 3 patients, 6 slices/);
    const cells = stdout.split("\n").map((line) => line.trim().split(/ {2,}/));
    const row = (name: string) => cells.find(([own]) => own === name)!;
    // 4 slices in batches of 2, three epochs, two folds; the decoder's parameters are known.
    assertEquals(row("PEFT (decoder only)").slice(1, 4), ["4,058,340", "2", "12"]);
    // Of LoRA's two matrices both are as large as the rank.
    const [two, four] = ["LoRA-2", "LoRA-4"].map((name) =>
      Number(row(name)[1].replaceAll(",", ""))
    );
    assertEquals(four, 2 * two);
    assertMatch(stdout, /Time: about \d+ (s|min)/);
    const files = await filesBelow(folder);
    const kept = files.filter((name) => !/\.(nii\.gz|yaml)$/.test(name));
    assert(kept.length === 6 && kept.every((name) => name.endsWith(".slices")), `${kept}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("times of an estimate add up in its last row, memory and passing files do not", () => {
  const row = {
    name: "LoRA-2",
    trainableParameters: 10,
    trainings: 2,
    steps: 5,
    trainSeconds: 60,
    scoreSeconds: 30,
    gpuBytes: 3 * 2 ** 20,
    checkpointBytes: 2 ** 20,
    activationBytes: 4 * 2 ** 20,
    resultBytes: 5 * 2 ** 20,
    partSeconds: [90],
  };
  const none = { patients: 1, slices: 1 };
  const text = estimateText({
    name: "heads",
    size: { cases: 2, patients: 1, slices: 3 },
    parts: [["", { train: none, validation: none, test: none }]],
    rows: [row, { ...row, name: "LoRA-4", gpuBytes: 2 ** 20 }],
    trivialSeconds: 10,
    sliceBytes: 6 * 2 ** 20,
    machine: "",
    tasks: [],
  });
  assertMatch(text, /heads: 2 cases of 1 patient, 3 slices\ntrain 1 patient, 1 slice;/);
  assertMatch(text, /All +4 +10 +2 min 0 s +1 min 10 s +3\n/);
  assertMatch(text, /about 3 min 10 s/);
  assertMatch(text, /slices 6 \(kept in the cache\), activations 4, checkpoints 1, results 10$/);
});
