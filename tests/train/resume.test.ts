import { assert, assertEquals, assertGreaterOrEqual, assertRejects } from "@std/assert";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import type { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { readCheckpoint, writeCheckpoint } from "../../lib/train/checkpoint_file.ts";
import type { FitOptions } from "../../lib/train/plan.ts";
import type { TrainingState } from "../../lib/train/resume.ts";
import type { FitCheckpoints } from "../../lib/train/training.ts";
import { breakGradient } from "./broken_gradient.ts";
import {
  adaptLastBlock,
  assertSameOutcome,
  discData,
  type Outcome,
  type TinyOptions,
  trainLastAttention,
  trainTiny,
} from "./train_tiny.ts";

const EPOCHS = 2;

/** Batches of an epoch: five slices, so that the last batch is short. */
const BATCHES = 3;

/** Slices read in an epoch: five to train on, two to validate on. */
const READS = 7;

const data = () => discData("disc", 5);

const options = {
  epochs: EPOCHS,
  batchSize: 2,
  warmupSteps: 2,
  prompt: "mixed",
  learningRate: 5e-3,
  weightDecay: 0.01,
  // Adapters with dropout and the magnitudes of DoRA.
  prepare: (sam) => adaptLastBlock(sam, { lora_dropout: 0.3, use_dora: true }),
} as const satisfies FitOptions & TinyOptions;

type Chosen = FitCheckpoints & Partial<FitOptions> & TinyOptions;

async function train(chosen: Chosen = {}): Promise<Outcome> {
  const { peakGpuBytes, ...outcome } = await trainTiny(data(), { ...options, ...chosen });
  // Each life holds what it happens to need; those before it count, too.
  assertGreaterOrEqual(peakGpuBytes, chosen.from?.position.peakGpuBytes ?? 1);
  return outcome;
}

/** The outcome of a training, and its state after each step and each epoch. */
async function trainKeeping(chosen: Chosen = {}) {
  const states: TrainingState[] = [];
  const onCheckpoint = (state: TrainingState) => void states.push(state);
  const whole = await train({ ...chosen, checkpointSeconds: 0, onCheckpoint });
  return { whole, states };
}

/** The state of a training that is stopped at its n-th reading of a slice, or as `arrange` says. */
async function stateWhenStopped(
  how: { read: number } | { arrange: (model: SliceModel, stop: AbortController) => void },
  chosen: Chosen = {},
): Promise<TrainingState> {
  const stop = new AbortController();
  const parts = data();
  if ("read" in how) {
    const { reader } = parts;
    const read = reader.read.bind(reader);
    let count = 0;
    reader.read = (ref) => {
      if (++count === how.read) stop.abort(new Error("stopped"));
      return read(ref);
    };
  }
  let state: TrainingState | undefined;
  const error = await assertRejects(() =>
    trainTiny(parts, {
      ...options,
      ...chosen,
      arrange: (model) => "arrange" in how && how.arrange(model, stop),
      signal: stop.signal,
      onCheckpoint: (kept) => void (state = kept),
    }), Error);
  assertEquals(error.message, "stopped");
  return state!;
}

Deno.test("a training continued from any step or epoch ends with the same bits", async () => {
  const { whole, states } = await trainKeeping();
  assertEquals(
    states.map(({ position: { epoch, batch } }) => [epoch, batch]),
    [[1, 1], [1, 2], [1, 3], [2, 0], [2, 1], [2, 2], [2, 3], [3, 0]],
  );
  assertSameOutcome(await train(), whole, "keeping states changes nothing");
  const folder = await Deno.makeTempDir();
  for (const [i, state] of states.entries()) {
    await writeCheckpoint(folder, state);
    const { state: from, damaged } = (await readCheckpoint(folder))!;
    assertEquals(damaged, []);
    assertSameOutcome(await train({ from }), whole, `from state ${i + 1}`);
  }
  assertEquals([...Deno.readDirSync(folder)].length, 2);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a moving average continues with the same bits, in training and in validation", async () => {
  const averaged = { ema: 0.7, prepare: trainLastAttention };
  for (const keep of ["best", "last"] as const) {
    const chosen = { ...averaged, keep };
    const { whole, states } = await trainKeeping(chosen);
    for (const i of [0, 3]) { // within an epoch, and at the end of one
      assertSameOutcome(await train({ ...chosen, from: states[i] }), whole, `from state ${i + 1}`);
    }
    // Stopped while the averages are in the weights' place.
    const from = await stateWhenStopped({ read: READS - 1 }, chosen);
    assertEquals([from.position.epoch, from.position.batch], [1, BATCHES]);
    assertSameOutcome(await train({ ...chosen, from }), whole, "stopped in validation");
  }
});

Deno.test("a training in half precision continues with the same bits, its scale too", async () => {
  const half = { precision: "f16", storage: "f16" } as const;
  const plain = await trainKeeping(half);
  // Scales that its first steps cannot take.
  const [first] = plain.states;
  const scaler = [2 ** 26, ...first.position.scaler!.slice(1)];
  const { whole, states } = await trainKeeping({
    ...half,
    from: { ...first, position: { ...first.position, scaler } },
  });
  const scales = states.map(({ position }) => position.scaler![0]);
  assert(scales[0] < 2 ** 26 && scales.at(-1)! < scales[0], `${scales}`);
  for (const from of [states[0], states.at(-3)!]) {
    assertSameOutcome(await train({ ...half, from }), whole, "in half precision");
  }
});

Deno.test("a training that is told to stop keeps its state, wherever it is, and continues", async () => {
  const whole = await train();
  for (const read of [1, 4, 6, 8, READS + 6]) {
    const from = await stateWhenStopped({ read });
    assertSameOutcome(await train({ from }), whole, `stopped at read ${read}`);
  }
});

Deno.test("a training that is stopped within a step continues from where the step began", async () => {
  // Two decodings a batch, three batches an epoch, and one to validate: 11 is the second batch of the
  // second epoch, and of its step where gradients accumulate.
  for (const [accumulated, stops] of [[1, [[2, 0], [11, 4]]], [2, [[6, 1], [11, 2]]]] as const) {
    const chosen = { gradientAccumulationSteps: accumulated, promptIterations: 2 };
    const whole = await train(chosen);
    for (const [decoding, steps] of stops) {
      const arrange = (model: SliceModel, stop: AbortController) => {
        const decode = model.decodeStep.bind(model);
        let count = 0;
        model.decodeStep = (...args) => {
          if (++count === decoding) stop.abort(new Error("stopped"));
          // As a kernel does that is compiled while a signal comes.
          stop.signal.throwIfAborted();
          return decode(...args);
        };
      };
      const from = await stateWhenStopped({ arrange }, chosen);
      assertEquals(from.position.step, steps, `steps kept at decoding ${decoding}`);
      assertSameOutcome(await train({ ...chosen, from }), whole, `stopped at ${decoding}`);
    }
  }
});

Deno.test("early stopping is remembered: a stopped training trains no further", async () => {
  let from: TrainingState | undefined;
  const chosen = { learningRate: 1e-12, patience: 1, epochs: 9 };
  const first = await train({ ...chosen, onCheckpoint: (state) => void (from = state) });
  assert(first.result.stoppedEarly);
  const again = await trainTiny(data(), {
    ...options,
    ...chosen,
    from,
    onProgress: () => {
      throw new Error("a step was trained");
    },
  });
  assertSameOutcome(again, first);
});

Deno.test("a damaged checkpoint is passed over for the one before it, and never trusted", async () => {
  const folder = await Deno.makeTempDir();
  const steps: number[] = [];
  await train({
    onCheckpoint: async (state) => {
      steps.push(state.position.step);
      await writeCheckpoint(folder, state);
    },
  });
  const files = [...Deno.readDirSync(folder)].map(({ name }) => join(folder, name)).sort();
  const newest = await Deno.readFile(files[1]);
  const damage: [string, Uint8Array][] = [
    ["cut short", newest.slice(0, -7)],
    ["empty", new Uint8Array(0)],
    ["a bit in its last tensor", newest.with(newest.length - 5, newest[newest.length - 5] ^ 1)],
    ["a digit of its numbers", replaced(newest, '\\"step\\":', '\\"stfp\\":')],
  ];
  for (const [what, bytes] of damage) {
    await Deno.writeFile(files[1], bytes);
    const { state, damaged } = (await readCheckpoint(folder))!;
    assertEquals([state.position.step, damaged.length], [steps.at(-2), 1], what);
  }
  await Deno.writeFile(files[0], new Uint8Array(9));
  await assertRejects(() => readCheckpoint(folder), InputError, "no checkpoint");
  assertEquals(await readCheckpoint(join(folder, "none")), null);
  await Deno.remove(folder, { recursive: true });
});

/** Bytes with the first occurrence of a text replaced by another of its length. */
function replaced(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const text = new TextDecoder("latin1").decode(bytes.slice(0, 100_000));
  const at = text.indexOf(from);
  assert(at > 0);
  const changed = bytes.slice();
  changed.set(new TextEncoder().encode(to), at);
  return changed;
}

Deno.test("another model's state is refused", async () => {
  let from: TrainingState | undefined;
  await train({ epochs: 1, onCheckpoint: (state) => void (from = state) });
  await assertRejects(
    () => train({ from, prepare: trainLastAttention }),
    InputError,
    "the checkpoint does not hold this model's tensors",
  );
});

Deno.test("a gradient that is not a number is named with its step, and no state keeps it", async () => {
  for (const [value, broken] of [[NaN, 1], [NaN, BATCHES + 2], [Infinity, 2]]) {
    const arrange = (model: SliceModel) => {
      const decode = model.decodeStep.bind(model);
      let step = 0;
      model.decodeStep = (...args) => {
        const decoded = decode(...args);
        const { logits } = decoded;
        if (!logits.requiresGrad || ++step !== broken) return decoded;
        return { ...decoded, logits: breakGradient(logits, value) };
      };
    };
    const states: TrainingState[] = [];
    await assertRejects(
      () => train({ arrange, onCheckpoint: (state) => void states.push(state) }),
      InputError,
      `the gradient is not finite after step ${broken}: lower the learning rate`,
    );
    assertEquals(states.length, Math.floor((broken - 1) / BATCHES), "one for each epoch before it");
    for (const { tensors } of states) {
      for (const [name, { data }] of tensors) assert(data.every(Number.isFinite), name);
    }
  }
});
