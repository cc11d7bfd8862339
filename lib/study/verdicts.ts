import type { BootstrapOptions } from "../stats/bootstrap.ts";
import type { ModelObservations } from "../stats/compare.ts";
import { judge, type Verdict } from "../stats/verdict.ts";
import { type MaskMetric, METRICS } from "../metrics/metrics.ts";
import type { ProtocolSlice } from "../evaluate/protocol.ts";
import type { ScoredPrompt } from "../evaluate/scored_prompts.ts";
import { displayName, type Experiment, type Hypothesis } from "./experiment.ts";

/** A hypothesis of a study with what became of it: an item of verdicts.json. */
export interface StudyVerdict extends Verdict {
  /** Name of the experiment that the hypothesis is about, which is its folder. */
  readonly experiment: string;
  /** The hypothesis in words, as it was written down before the run. */
  readonly hypothesis: string;
  /** Name of the experiment that it is compared with. */
  readonly than: string;
  readonly prompt: ScoredPrompt;
  readonly metric: MaskMetric;
  readonly expected: Hypothesis["expected"];
  readonly margin: number;
}

/**
 * One metric of slices under one prompt, by what can be paired with another model's: the same slice
 * with as many tumour pixels. A crop that loses tumour makes another slice of it.
 */
export function observations(
  slices: readonly ProtocolSlice[],
  { prompt, metric }: { prompt: ScoredPrompt; metric: MaskMetric },
): ModelObservations {
  return new Map(slices.flatMap(({ id, patient, tumourPixels, scores }) => {
    const value = scores[prompt]?.[metric] ?? null;
    return value === null ? [] : [[`${id} ${tumourPixels}`, { group: patient, value }] as const];
  }));
}

/**
 * Judges the hypotheses of a study's experiments together. One about a row without scores, since a
 * guard has caught it, stays undecided.
 *
 * @param models The slices' scores by the experiments' display names.
 */
export function judgeStudy(
  experiments: readonly Experiment[],
  models: ReadonlyMap<string, readonly ProtocolSlice[]>,
  options: BootstrapOptions = { resamples: 2000 },
): StudyVerdict[] {
  const byName = new Map(experiments.map((experiment) => [experiment.name, experiment]));
  const stated = experiments.flatMap(({ name, hypothesis }) =>
    hypothesis ? [{ name, hypothesis }] : []
  );
  const observe = (name: string, { prompt, metric }: Hypothesis) =>
    observations(models.get(displayName(byName.get(name)!)) ?? [], { prompt, metric });
  const verdicts = judge(
    stated.map(({ name, hypothesis }) => ({
      expected: hypothesis.expected,
      margin: hypothesis.margin ?? 0,
      lowerIsBetter: METRICS[hypothesis.metric].direction !== "higher",
      own: observe(name, hypothesis),
      other: observe(hypothesis.than, hypothesis),
    })),
    options,
  );
  return stated.map(({ name, hypothesis }, i) => ({
    experiment: name,
    hypothesis: hypothesis.sentence,
    than: hypothesis.than,
    prompt: hypothesis.prompt,
    metric: hypothesis.metric,
    expected: hypothesis.expected,
    margin: hypothesis.margin ?? 0,
    ...verdicts[i],
  }));
}
