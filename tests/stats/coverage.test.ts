import { assert } from "@std/assert";
import { join } from "node:path";
import { bootstrapInterval } from "../../lib/stats/bootstrap.ts";
import { groupMeans, mean, quantile } from "../../lib/stats/summary.ts";
import { poolRecords } from "../../lib/study/comparison.ts";
import { readRecords } from "../../lib/study/records.ts";
import { Random } from "../../lib/random.ts";

/** Samples of each size from each distribution, and resamples of each. */
const [SAMPLES, RESAMPLES] = [400, 399];

const SIZES = [10, 20, 25, 52];

/** A distribution whose mean is known. */
interface Population {
  readonly mean: number;
  readonly draw: (random: Random) => number;
}

const study = join(import.meta.dirname!, "../../results/cheng-meningioma-folds/records.json.gz");
const records = await readRecords(study);

/** Mean Dice of each of the 52 patients of the committed study under one prompt. */
function diceOf(row: string, prompt: "tight-box" | "point"): number[] {
  const { slices } = poolRecords(records, row);
  return groupMeans(
    slices.map(({ patient, scores }) => ({ group: patient, value: scores[prompt]!.dice })),
  );
}

/** Real scores as a distribution, of which samples are drawn with replacement. */
const real = (scores: readonly number[]): Population => ({
  mean: mean(scores),
  draw: (random) => scores[random.int(scores.length)],
});

const other = diceOf("peft", "tight-box");

/** Distributions, each with the least coverage in per cent at each of the sizes. */
const populations: Record<string, Population & { readonly least: readonly number[] }> = {
  normal: { mean: 0, draw: (random) => random.normal(), least: [92, 92, 92, 92] },
  // Scores near the best possible one: Beta(12, 1), skewed by -1.6.
  beta: { mean: 12 / 13, draw: (random) => random.uniform() ** (1 / 12), least: [92, 92, 92, 92] },
  exponential: {
    mean: 1,
    draw: (random) => -Math.log(1 - random.uniform()),
    least: [91, 91, 91, 92],
  },
  "LoRA-16, tight box": { ...real(diceOf("lora_16", "tight-box")), least: [89, 89, 89, 91] },
  "PEFT, point": { ...real(diceOf("peft", "point")), least: [84, 86, 86, 90] },
  "LoRA-16 − PEFT, tight box": {
    ...real(diceOf("lora_16", "tight-box").map((dice, i) => dice - other[i])),
    least: [87, 89, 89, 90],
  },
};

/** Percentiles of the resamples' means: the interval that is too narrow of few patients. */
function percentileInterval(values: readonly number[], seed: number): [number, number] {
  const random = new Random(`percentile/${seed}`);
  const means = Array.from(
    { length: RESAMPLES },
    () => mean(values.map(() => values[random.int(values.length)])),
  );
  return [quantile(means, 0.025), quantile(means, 0.975)];
}

/** Share, in per cent, of intervals of samples that hold the distribution's mean. */
function coverage({ mean, draw }: Population, size: number, interval: typeof percentileInterval) {
  const random = new Random(`coverage/${size}`);
  let held = 0;
  for (let i = 0; i < SAMPLES; i++) {
    const [low, high] = interval(Array.from({ length: size }, () => draw(random)), i);
    held += Number(low <= mean && mean <= high);
  }
  return 100 * held / SAMPLES;
}

for (const [name, population] of Object.entries(populations)) {
  Deno.test(`intervals cover the mean of samples of ${name}`, () => {
    const seen = SIZES.map((size) =>
      coverage(
        population,
        size,
        (values, seed) => bootstrapInterval(values, { seed, resamples: RESAMPLES })!,
      )
    );
    population.least.forEach((least, i) =>
      assert(seen[i] >= least, `${seen[i]} % at n = ${SIZES[i]}, ${least} % expected`)
    );
    const narrow = coverage(population, SIZES[0], percentileInterval);
    assert(seen[0] > narrow, `${seen[0]} % is no more than the percentiles' ${narrow} %`);
  });
}
