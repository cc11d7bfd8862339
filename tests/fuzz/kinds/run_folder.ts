import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { openAdapter, runOf } from "../../../lib/study/adapter.ts";
import { parseConfig, presets } from "../../../lib/study/schema.ts";
import { adapterExperiment, displayName } from "../../../lib/study/experiment.ts";
import { adapterOptions, weightsFile } from "../../../lib/study/model.ts";
import { readRun, readSplit } from "../../../lib/study/run_folder.ts";
import { sliceOptions } from "../../../lib/study/study_data.ts";
import { overlap } from "../../../lib/data/split.ts";
import { adapterWeights } from "../../../lib/adapters/adapter.ts";
import type { FuzzCase, Kind } from "../kind.ts";
import { applyAll, type Edit, jsonEdit, labels, some } from "../mutations.ts";
import { safetensorsEdit } from "./safetensors.ts";

const fixture = join(import.meta.dirname!, "..", "..", "adapters", "fixtures", "peft", "default");

const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** What a run of the program leaves that its other commands read. */
const sound: Readonly<Record<string, Uint8Array>> = {
  "config.json": json({
    experiment: adapterExperiment(4),
    config: presets.quick.config,
    data: { cases: 3, crop: { tumourVoxels: 0, lostVoxels: 0, lostSlices: 0 } },
  }),
  "split.json": json({
    seed: 0,
    train: ["A-1", "A-2"],
    validation: ["A-3"],
    test: ["A-4"],
    validationSharesTrainingPatients: false,
  }),
  "adapter/adapter_config.json": Deno.readFileSync(join(fixture, "adapter_config.json")),
  "adapter/adapter_model.safetensors": Deno.readFileSync(
    join(fixture, "adapter_model.safetensors"),
  ),
};

type Files = Readonly<Record<string, Uint8Array>>;

const onFile = (name: string, { label, apply }: Edit): Edit<Files> => ({
  label: `${name}: ${label}`,
  apply: (files) => files[name] ? { ...files, [name]: apply(files[name]) } : files,
});

const edit: fc.Arbitrary<Edit<Files>> = fc.oneof(
  { weight: 6, arbitrary: jsonEdit.map((edit) => onFile("config.json", edit)) },
  { weight: 3, arbitrary: jsonEdit.map((edit) => onFile("split.json", edit)) },
  { weight: 1, arbitrary: jsonEdit.map((edit) => onFile("adapter/adapter_config.json", edit)) },
  {
    weight: 1,
    arbitrary: safetensorsEdit.map((edit) => onFile("adapter/adapter_model.safetensors", edit)),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(...Object.keys(sound)).map((name) => ({
      label: `no ${name}`,
      apply: (files: Files) =>
        Object.fromEntries(Object.entries(files).filter(([other]) => other !== name)),
    })),
  },
);

async function read(folder: string, { edits }: FuzzCase): Promise<void> {
  const { experiment, config } = await readRun(folder);
  assert(["vanilla", "peft", "lora"].includes(experiment.kind));
  if (experiment.kind === "lora") {
    assert(
      Number.isSafeInteger(experiment.rank) && experiment.rank! >= 1,
      `rank ${experiment.rank}`,
    );
    assert(experiment.rank! <= 2 ** 16, `rank ${experiment.rank}`);
  }
  assert(typeof experiment.name === "string", "a name that is no text");
  assert(displayName(experiment).length < 40);
  // What a config allows must mean the same when it is written and read once more.
  const written = JSON.stringify(config); // -0 becomes 0, which is the same to us
  assertEquals(JSON.stringify(parseConfig(JSON.parse(written), folder)), written);
  adapterOptions(experiment, config);
  sliceOptions(config);
  assertEquals(await runOf(folder), config);
  // Only the weights that the package brings, or that the command line names, are ever opened.
  if (config.weights === null && config.model === "mobile_sam") {
    assertEquals(await weightsFile(config), null);
  }
  const split = await readSplit(folder);
  assertEquals(overlap(split), []);
  assert(["number", "string"].includes(typeof split.seed));
  assert(typeof split.validationSharesTrainingPatients === "boolean");
  const weights = adapterWeights(await openAdapter(folder));
  for (const [name, { shape, data }] of weights) {
    assertEquals(data.length, shape.reduce((product, length) => product * length, 1), name);
  }
  if (edits.length === 0) assertEquals(experiment, adapterExperiment(4));
}

/** Folders of runs. */
export const runFolder: Kind = {
  name: "run_folder",
  cases: some(edit).map((edits) => ({
    edits: labels(edits),
    files: applyAll(sound as Files, edits),
  })),
  read,
};
