import { assert, assertEquals } from "@std/assert";
import { weightsFile } from "../../../lib/files/pretrained.ts";
import fc from "fast-check";
import { join } from "node:path";
import { openAdapter, readOrigin, runOf } from "../../../lib/study/adapter.ts";
import { DEFAULTS, parseConfig } from "../../../lib/study/schema.ts";
import { adapterExperiment, displayName } from "../../../lib/study/experiment.ts";
import { adapterOptions } from "../../../lib/study/model.ts";
import { sliceOptions } from "../../../lib/study/study_data.ts";
import { overlap } from "../../../lib/data/split.ts";
import { adapterWeights, encodeAdapter } from "../../../lib/adapters/adapter.ts";
import { loadAdapter } from "../../../lib/study/adapter_folder.ts";
import type { FuzzCase, Kind } from "../kind.ts";
import { applyAll, type Edit, jsonEdit, labels, some } from "../mutations.ts";
import { safetensorsEdit } from "./safetensors.ts";

const fixture = join(import.meta.dirname!, "..", "..", "adapters", "fixtures", "peft", "default");

const origin = {
  experiment: adapterExperiment(4, DEFAULTS),
  config: DEFAULTS,
  split: {
    seed: 0,
    train: ["A-1", "A-2"],
    validation: ["A-3"],
    test: ["A-4"],
    validationSharesTrainingPatients: false,
  },
};

const adapter = await loadAdapter(fixture);

/** A tensors' file that says what trained it in these words. */
function weightsBy(text: Uint8Array): Uint8Array {
  const metadata = { format: "pt", samlora_run: new TextDecoder().decode(text) };
  return encodeAdapter({ ...adapter, metadata }).weights;
}

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";
const ORIGIN = new TextEncoder().encode(JSON.stringify(origin));

/** Trained weights as a study leaves them for its other commands. */
const sound: Readonly<Record<string, Uint8Array>> = {
  [CONFIG]: Deno.readFileSync(join(fixture, CONFIG)),
  [WEIGHTS]: weightsBy(ORIGIN),
};

type Files = Readonly<Record<string, Uint8Array>>;

const onFile = (name: string, { label, apply }: Edit): Edit<Files> => ({
  label: `${name}: ${label}`,
  apply: (files) => files[name] ? { ...files, [name]: apply(files[name]) } : files,
});

const edit: fc.Arbitrary<Edit<Files>> = fc.oneof(
  {
    weight: 9,
    arbitrary: jsonEdit.map(({ label, apply }) =>
      onFile(WEIGHTS, { label: `origin: ${label}`, apply: () => weightsBy(apply(ORIGIN)) })
    ),
  },
  { weight: 1, arbitrary: jsonEdit.map((edit) => onFile(CONFIG, edit)) },
  { weight: 1, arbitrary: safetensorsEdit.map((edit) => onFile(WEIGHTS, edit)) },
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
  const adapter = await openAdapter(folder);
  const origin = await readOrigin(folder, adapter);
  const weights = adapterWeights(adapter);
  for (const [name, { shape, data }] of weights) {
    assertEquals(data.length, shape.reduce((product, length) => product * length, 1), name);
  }
  if (edits.length === 0) assertEquals(origin?.experiment, adapterExperiment(4, DEFAULTS));
  if (!origin) return;
  const { experiment, split } = origin;
  const config = parseConfig(origin.config, folder);
  assert(["vanilla", "peft", "full", "lora"].includes(experiment.kind));
  if (experiment.kind === "lora") {
    assert(
      Number.isSafeInteger(experiment.rank) && experiment.rank! >= 1,
      `rank ${experiment.rank}`,
    );
    assert(experiment.rank! <= 2 ** 16, `rank ${experiment.rank}`);
  }
  assert(typeof experiment.name === "string", "a name that is no text");
  assert(displayName(experiment).length < 40 || experiment.label !== undefined);
  // Values that a config allows must mean the same when it is written and read once more.
  const written = JSON.stringify(config); // -0 becomes 0, which is the same to us
  assertEquals(JSON.stringify(parseConfig(JSON.parse(written), folder)), written);
  adapterOptions(experiment, config);
  sliceOptions(config);
  assertEquals(await runOf(folder), config);
  // Only the weights that the package brings, or that the command line names, are ever opened.
  if (config.weights === null && config.model === "mobile_sam") {
    assertEquals(await weightsFile(config), null);
  }
  assertEquals(overlap(split), []);
  assert(["number", "string"].includes(typeof split.seed));
  assert(typeof split.validationSharesTrainingPatients === "boolean");
}

/** Trained weights that say what trained them, by their own file or as earlier versions left it. */
export const runFolder: Kind = {
  name: "run_folder",
  cases: some(edit).map((edits) => ({
    edits: labels(edits),
    files: applyAll(sound as Files, edits),
  })),
  read,
};
