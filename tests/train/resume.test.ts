import { assert, assertEquals, assertGreaterOrEqual, assertRejects } from "@std/assert";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { readCheckpoint, writeCheckpoint } from "../../lib/train/checkpoint_file.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { fit } from "../../lib/train/fit.ts";
import type { FitCheckpoints } from "../../lib/train/training.ts";
import type { FitOptions } from "../../lib/train/plan.ts";
import type { TrainingState } from "../../lib/train/resume.ts";
import { assertSameBits } from "../bits.ts";
import { breakGradient } from "./broken_gradient.ts";
import { discs } from "./discs.ts";
import { tinySam } from "./tiny_sam.ts";
import { withoutCosts } from "./without_costs.ts";

/** Seven slices to train on, in four batches of which the last is short, and two to validate on. */
function data() {
  const reader = discs("disc", { count: 9 });
  return { reader, train: reader.refs.slice(0, 7), validation: reader.refs.slice(7) };
}

const options = {
  batchSize: 2,
  warmupSteps: 2,
  prompt: "mixed",
  learningRate: 5e-3,
  weightDecay: 0.01,
  epochs: 3,
  patience: 2,
} as const;

/** What is trained: adapters with dropout and the magnitudes of DoRA. */
async function build(): Promise<Sam> {
  const sam = tinySam();
  await injectLora(sam.imageEncoder, {
    r: 2,
    lora_alpha: 2,
    lora_dropout: 0.3,
    use_dora: true,
    random: new Random(0),
  });
  return sam;
}

/** What a training came to, with the wall times left out. */
interface Outcome {
  readonly result: unknown;
  readonly weights: readonly Float32Array[];
}

/** Trains in a model that is built anew, as another process would. */
async function train(chosen: FitCheckpoints & Partial<FitOptions>): Promise<Outcome> {
  const sam = await build();
  try {
    using model = new SliceModel(sam, { side: 64 });
    const fitted = await fit(model, data(), { ...options, ...chosen });
    // Each life holds what it happens to need; those before it count, too.
    assertGreaterOrEqual(fitted.peakGpuBytes, chosen.from?.position.peakGpuBytes ?? 1);
    const weights = await Promise.all(sam.trainableParameters().map(([, t]) => t.data()));
    return { result: withoutCosts(fitted), weights };
  } finally {
    sam.dispose();
  }
}

/** A training that is to be stopped, before it begins. */
interface Stoppable {
  readonly model: SliceModel;
  readonly parts: ReturnType<typeof data>;
  readonly stop: AbortController;
}

/** Stops a training at its n-th reading of a slice. */
function stopAtRead(n: number) {
  return ({ parts: { reader }, stop }: Stoppable) => {
    const read = reader.read.bind(reader);
    let count = 0;
    reader.read = (ref) => {
      if (++count === n) stop.abort(new Error("stopped"));
      return read(ref);
    };
  };
}

/** The state of a training that `arrange` has stopped somewhere. */
async function stateWhenStopped(
  arrange: (training: Stoppable) => void,
  chosen: Partial<FitOptions> = {},
): Promise<TrainingState> {
  const sam = await build();
  using model = new SliceModel(sam, { side: 64 });
  const parts = data();
  const stop = new AbortController();
  arrange({ model, parts, stop });
  let state: TrainingState | undefined;
  const error = await assertRejects(() =>
    fit(model, parts, {
      ...options,
      ...chosen,
      signal: stop.signal,
      onCheckpoint: (kept) => void (state = kept),
    }), Error);
  assertEquals(error.message, "stopped");
  sam.dispose();
  return state!;
}

function assertSameOutcome(actual: Outcome, expected: Outcome, what: string): void {
  assertEquals(actual.result, expected.result, what);
  actual.weights.forEach((weights, i) => assertSameBits(weights, expected.weights[i], what));
}

Deno.test("a training gone on with from any step or epoch ends with the same bits", async () => {
  const states: TrainingState[] = [];
  const whole = await train({
    checkpointSeconds: 0,
    onCheckpoint: (state) => void states.push(state),
  });
  // Four steps an epoch, and the end of each epoch.
  assertEquals(
    states.map(({ position: { epoch, batch } }) => [epoch, batch]),
    [1, 2, 3].flatMap((n) => [[n, 1], [n, 2], [n, 3], [n, 4], [n + 1, 0]]),
  );
  assertSameOutcome(await train({}), whole, "keeping states changes nothing");
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

Deno.test("a moving average goes on with the same bits, in training and in validation", async () => {
  for (const keep of ["best", "last"] as const) {
    const averaged = { ema: 0.7, keep };
    const states: TrainingState[] = [];
    const whole = await train({
      ...averaged,
      checkpointSeconds: 0,
      onCheckpoint: (state) => void states.push(state),
    });
    // Every third: each batch of an epoch, and the end of one, occurs once.
    for (let i = 0; i < states.length; i += 3) {
      const from = states[i];
      assertSameOutcome(await train({ ...averaged, from }), whole, `from state ${i + 1}`);
    }
    // Stopped while the averages are in the weights' place.
    const from = await stateWhenStopped(stopAtRead(8), averaged);
    assertEquals([from.position.epoch, from.position.batch], [1, 4]);
    assertSameOutcome(await train({ ...averaged, from }), whole, "stopped in validation");
  }
});

Deno.test("a training that is told to stop keeps its state, wherever it is, and goes on", async () => {
  const whole = await train({});
  for (const reads of [1, 5, 8, 9, 13, 18, 26]) {
    const from = await stateWhenStopped(stopAtRead(reads));
    assertSameOutcome(await train({ from }), whole, `stopped at read ${reads}`);
  }
});

Deno.test("a training that is stopped within a step goes on from where the step began", async () => {
  for (const gradientAccumulationSteps of [1, 2]) {
    const chosen = { gradientAccumulationSteps, promptIterations: 2 };
    const whole = await train(chosen);
    // Two decodings a batch, four batches an epoch, and one to validate.
    for (const [decoding, steps] of [[2, 0], [6, 2], [17, 7]]) {
      const from = await stateWhenStopped(({ model, stop }) => {
        const decode = model.decodeStep.bind(model);
        let count = 0;
        model.decodeStep = (...args) => {
          if (++count === decoding) stop.abort(new Error("stopped"));
          // As a kernel does that is compiled while a signal comes.
          stop.signal.throwIfAborted();
          return decode(...args);
        };
      }, chosen);
      const expected = Math.floor(steps / gradientAccumulationSteps);
      assertEquals(from.position.step, expected, `steps kept at decoding ${decoding}`);
      assertSameOutcome(await train({ ...chosen, from }), whole, `stopped at ${decoding}`);
    }
  }
});

Deno.test("early stopping is remembered: a stopped training trains no further", async () => {
  const sam = await build();
  using model = new SliceModel(sam, { side: 64 });
  let from: TrainingState | undefined;
  const chosen = { ...options, learningRate: 1e-12, patience: 1, epochs: 9 };
  const first = await fit(model, data(), {
    ...chosen,
    onCheckpoint: (state) => void (from = state),
  });
  assert(first.stoppedEarly);
  const again = await fit(model, data(), {
    ...chosen,
    from,
    onProgress: () => {
      throw new Error("a step was trained");
    },
  });
  assertEquals(again, first);
  sam.dispose();
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
  await train({ onCheckpoint: (state) => void (from = state) });
  const sam = tinySam();
  sam.maskDecoder.setTrainable(true);
  using model = new SliceModel(sam, { side: 64 });
  await assertRejects(
    () => fit(model, data(), { ...options, from }),
    InputError,
    "the checkpoint does not hold this model's tensors",
  );
  sam.dispose();
});

Deno.test("a gradient that is not a number is named with its step, and no state keeps it", async () => {
  for (const value of [NaN, Infinity]) {
    for (const broken of [1, 3, 6, 12]) {
      const sam = await build();
      using model = new SliceModel(sam, { side: 64 });
      const decode = model.decodeStep.bind(model);
      let step = 0;
      model.decodeStep = (...args) => {
        const decoded = decode(...args);
        const { logits } = decoded;
        if (!logits.requiresGrad || ++step !== broken) return decoded;
        return { ...decoded, logits: breakGradient(logits, value) };
      };
      const states: TrainingState[] = [];
      await assertRejects(
        () => fit(model, data(), { ...options, onCheckpoint: (state) => void states.push(state) }),
        InputError,
        `the gradient is not finite after step ${broken}: lower the learning rate`,
      );
      assertEquals(states.length, Math.floor((broken - 1) / 4), "one for each epoch before it");
      for (const { tensors } of states) {
        for (const [name, { data }] of tensors) assert(data.every(Number.isFinite), name);
      }
      sam.dispose();
    }
  }
});
