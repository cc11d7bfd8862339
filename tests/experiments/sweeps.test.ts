import { assert, assertEquals, assertThrows } from "@std/assert";
import { SWEEP_VALUES } from "../../lib/study/sweep.ts";
import { type Config, DEFAULTS, overridden } from "../../lib/study/schema.ts";
import {
  configOf,
  displayName,
  type Experiment,
  parseExperiment,
} from "../../lib/study/experiment.ts";
import { MODEL_NAMES } from "../../lib/sam/models.ts";
import { buildModel } from "../../lib/study/model.ts";
import { judgeStudy } from "../../lib/study/statistics.ts";
import { sweeps } from "../../experiments/sweeps/mod.ts";
import { InputError } from "../../lib/errors.ts";
import { adapterLayers } from "../../lib/adapters/adapter_layer.ts";
import type { MaskScore } from "../../lib/metrics/mask_score.ts";
import type { ProtocolSlice } from "../../lib/evaluate/protocol.ts";
import { gpu } from "../gpu.ts";
import { readOptions } from "./read_options.ts";

const config = overridden(DEFAULTS, SWEEP_VALUES);

for (const [name, sweep] of Object.entries(sweeps)) {
  Deno.test(`the rows of ${name} have names of their own, and hypotheses about each other`, () => {
    for (const model of MODEL_NAMES) {
      for (const side of [64, 256, 512, 1024]) {
        const rows = sweep.experiments(overridden(config, { ...sweep.values, model, side }));
        const names = rows.map(({ name }) => name);
        assertEquals(new Set(names).size, rows.length);
        assertEquals(new Set(rows.map(displayName)).size, rows.length);
        for (const row of rows) {
          // As a file keeps it: what is written down is what is run.
          const kept = parseExperiment(JSON.parse(JSON.stringify(row)), name);
          assertEquals({ ...kept, overrides: null }, { ...row, overrides: null });
          assertEquals(configOf(kept, config), configOf(row, config));
          assert(!row.hypothesis || names.includes(row.hypothesis.than), row.name);
          assert(row.hypothesis?.than !== row.name);
        }
        assert(rows.some(({ hypothesis }) => hypothesis));
      }
    }
    const { config: chosen } = readOptions(["--sweep", name, "--side", "128", "--epochs", "7"]);
    assertEquals([chosen.side, chosen.epochs, chosen.split], [128, [7], [0.54, 0.13, 0.33]]);
  });
}

Deno.test("options go over a sweep's values, and what does not go with a sweep is named", () => {
  const { config } = readOptions(["--sweep", "ranks", "--split", "0.6,0.2,0.2"]);
  assertEquals(config.split, [0.6, 0.2, 0.2]);
  assertEquals(readOptions(["--sweep", "ranks", "--folds", "3"]).config.split, null);
  const refuse = (args: string[], says: string) =>
    assertThrows(() => readOptions(args), InputError, says);
  refuse(["--sweep", "nothing"], "--sweep cannot be nothing: choose placements, ranks");
  refuse(["--sweep", "ranks", "--ranks", "4"], "--ranks does not go with --sweep");
  refuse(["--sweep", "ranks", "--baselines", "full"], "--baselines does not go with --sweep");
  refuse(
    ["--baselines", "vanilla,nnunet"],
    "--baselines cannot be vanilla,nnunet: choose vanilla, peft or full",
  );
  refuse(["--baselines", "full,full"], "--baselines cannot be full,full");
});

Deno.test("the placements are where they say", async () => {
  const rows = sweeps.placements.experiments(config);
  const paths = new Map<string, string[]>();
  const trained = new Map<string, number>();
  for (const experiment of rows) {
    const sam = await buildModel(gpu, { experiment, config: configOf(experiment, config) });
    paths.set(experiment.name, [...adapterLayers(sam).keys()]);
    trained.set(
      experiment.name,
      sam.trainableParameters().reduce((sum, [, { size }]) => sum + size, 0),
    );
    sam.dispose();
  }
  const of = (name: string) => paths.get(name)!;
  const ends = (name: string) =>
    [...new Set(of(name).map((path) => path.split(".").at(-1)))].sort();
  assertEquals([of("vanilla"), of("peft"), of("full")], [[], [], []]);
  assertEquals(trained.get("vanilla"), 0);
  assertEquals(trained.get("peft"), 4_058_340);
  // MobileSAM's encoder beside the decoder.
  assertEquals(trained.get("full")! - trained.get("peft")!, 6_951_420);
  assertEquals(of("decoder").length, 28); // 7 attentions of four Linears
  assert(of("decoder").every((path) => path.startsWith("mask_decoder.transformer.")));
  assertEquals(of("encoder").length, 10);
  assert(of("encoder").every((path) => /^image_encoder\..*attn\.qkv$/.test(path)));
  assertEquals(of("encoder_decoder").sort(), [...of("encoder"), ...of("decoder")].sort());
  assertEquals(of("encoder_trained_decoder"), of("encoder"));
  assertEquals(
    trained.get("encoder_trained_decoder"),
    trained.get("encoder")! + trained.get("peft")!,
  );
  const encoder = of("encoder");
  assertEquals(of("first_blocks"), encoder.slice(0, 3));
  assertEquals(of("middle_blocks"), encoder.slice(3, 6));
  assertEquals(of("last_blocks"), encoder.slice(7));
  assertEquals(of("first_block"), encoder.slice(0, 1));
  assertEquals(of("middle_block"), encoder.slice(5, 6));
  assertEquals(of("last_block"), encoder.slice(9));
  // Queries and values with a rank each.
  assertEquals([of("q_v"), trained.get("q_v")], [encoder, 2 * trained.get("encoder")!]);
  assertEquals([of("mlp").length, ends("mlp")], [20, ["fc1", "fc2"]]);
  assertEquals(ends("all_linear"), ["fc1", "fc2", "proj", "qkv"]);
  assertEquals(of("all_linear").length, 40);
});

Deno.test("freezing levels train ever more of the model", async () => {
  const rows = sweeps.freezing.experiments(config);
  const counts: number[] = [];
  for (const experiment of rows) {
    const sam = await buildModel(gpu, { experiment, config });
    counts.push(sam.trainableParameters().reduce((sum, [, { size }]) => sum + size, 0));
    sam.dispose();
  }
  assertEquals(counts.map((count, i) => i === 0 || count > counts[i - 1]), counts.map(() => true));
  assertEquals(counts.at(-1), 4_058_340 + 6_951_420);
});

Deno.test("an experiment that contradicts itself is refused", () => {
  const bad: unknown[] = [
    { name: "lora", kind: "lora" },
    { name: "peft", kind: "peft", rank: 4 },
    { name: "peft", kind: "peft", modules: ["mask_decoder"] },
    { name: "../up", kind: "vanilla" },
    { name: "a", kind: "vanilla", overrides: { sides: 64 } },
    {
      name: "a",
      kind: "vanilla",
      hypothesis: {
        sentence: "",
        than: "b",
        prompt: "point",
        metric: "dice",
        expected: "no worse",
      },
    },
  ];
  for (const value of bad) assertThrows(() => parseExperiment(value, "a file"), InputError);
});

/** A slice that a run segmented with this Dice. */
function slice(patient: number, dice: number, tumourPixels = 100): ProtocolSlice {
  const score = { dice } as MaskScore;
  return {
    id: `${patient}`,
    caseId: `${patient}`,
    patient: `${patient}`,
    tumourPixels,
    scores: { "jittered-box": score },
  };
}

Deno.test("a crop is compared on the slices whose tumour it left whole", () => {
  const reference: Experiment = { name: "reference", kind: "lora", rank: 1, label: "Reference" };
  const crop: Experiment = {
    name: "crop",
    kind: "lora",
    rank: 1,
    label: "Crop",
    overrides: { crop: 128 } satisfies Partial<Config>,
    hypothesis: {
      sentence: "A crop helps.",
      than: "reference",
      prompt: "jittered-box",
      metric: "dice",
      expected: "greater",
    },
  };
  const patients = Array.from({ length: 16 }, (_, i) => i);
  // A crop that cuts into the tumour scores well on what is left: that must not count.
  const models = new Map([
    ["Reference", patients.map((i) => slice(i, 0.8))],
    ["Crop", patients.map((i) => i < 4 ? slice(i, 1, 50) : slice(i, 0.7 + 0.001 * i))],
  ]);
  const [verdict] = judgeStudy([reference, crop], models);
  assertEquals(
    [verdict.experiment, verdict.than, verdict.hypothesis, verdict.patients, verdict.verdict],
    ["crop", "reference", "A crop helps.", 12, "refuted"],
  );
  assertEquals([verdict.paired, verdict.unpaired], [12, 8]);
});
