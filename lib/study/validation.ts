/**
 * Scores of a model on the validation slices, by which values, shares and the rule of presence are chosen.
 *
 * @module
 */
import { evaluate, meanDice } from "../evaluate/evaluate.ts";
import {
  choosePresence,
  type PresenceCandidate,
  presenceCandidates,
  type PresenceSample,
} from "../evaluate/presence.ts";
import { type ProtocolSlice, runProtocol } from "../evaluate/protocol.ts";
import { AUTOMATIC_PROMPTS, HEADLINE_PROMPTS } from "../evaluate/scored_prompts.ts";
import type { SliceModel } from "../evaluate/slice_model.ts";
import { mean } from "../stats/summary.ts";
import type { Forecast } from "./forecast.ts";
import { rounded } from "./records.ts";
import { type Config, dataSeed } from "./schema.ts";
import type { StudyData } from "./study_data.ts";

/** Slices and settings of a validation. */
export interface ValidationContext {
  readonly data: StudyData;
  readonly config: Pick<Config, "batchSize" | "seed" | "splitSeed">;
  readonly forecast: Forecast;
  /** Ends it between two batches. */
  readonly signal?: AbortSignal;
}

/**
 * Score by which candidates are compared: the mean over the headline prompts of the mean Dice over slices, and
 * where tumour-free slices are validated on, with equal weight, the area under the ROC curve of the best
 * presence score.
 */
export async function validationScore(
  model: SliceModel,
  context: ValidationContext,
): Promise<number> {
  const { data: { slices: reader, parts: { validation: refs } }, config, forecast, signal } =
    context;
  forecast.start("validation", refs.length);
  const found = await evaluate(model, { reader, refs }, {
    prompts: HEADLINE_PROMPTS,
    seed: dataSeed(config),
    batchSize: config.batchSize,
    onProgress: (done) => {
      forecast.advance(done);
      signal?.throwIfAborted();
    },
  });
  const dice = HEADLINE_PROMPTS.map((kind) => meanDice(found, kind));
  if (context.data.healthy.validation.length === 0) return mean(dice);
  const presence = choosePresence(await scorePresence(model, context));
  return mean([...dice, presence?.auc ?? 0]);
}

/**
 * Candidates for the rule by which masks without a prompt count, on the validation slices with tumour and
 * without; none where there are none without, or nothing is painted.
 */
export async function scorePresence(
  model: SliceModel,
  { data, config, forecast, signal }: ValidationContext,
): Promise<PresenceCandidate[]> {
  const { parts: { validation }, healthy: { validation: healthy }, slices: reader } = data;
  if (healthy.length === 0) return [];
  const refs = [...validation, ...healthy];
  forecast.start("validation", refs.length);
  const { slices } = rounded(
    await runProtocol(model, { reader, refs }, {
      prompts: AUTOMATIC_PROMPTS,
      batchSize: config.batchSize,
      onProgress: (done) => {
        forecast.advance(done);
        signal?.throwIfAborted();
      },
    }),
  );
  return presenceCandidates(slices.map(sampleOf));
}

/** A slice that was scored without a prompt, as a rule is chosen on it. */
function sampleOf({ tumourPixels, scores, presence }: ProtocolSlice): PresenceSample {
  const { sensitivity, healthyPainted } = scores[AUTOMATIC_PROMPTS[0]]!;
  const tumour = tumourPixels > 0;
  return { tumour, painted: (tumour ? sensitivity : healthyPainted) === 1, scores: presence! };
}
