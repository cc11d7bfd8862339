import type { SliceModel } from "../evaluate/slice_model.ts";
import type { StateDict } from "../formats/state_dict.ts";
import type { Sam } from "../sam/sam.ts";
import { readCheckpoint, writeCheckpoint } from "../train/checkpoint_file.ts";
import { fit } from "../train/fit.ts";
import type { TrainingState } from "../train/resume.ts";
import type { EpochMetrics } from "../train/training.ts";
import { wiseFt } from "../train/wise_ft.ts";
import type { Tried } from "./choice.ts";
import { type Passes, slicesOfEpoch, validationsAfter } from "./forecast.ts";
import { Progress } from "./progress.ts";
import type { RunSummary } from "./results.ts";
import type { SettledConfig } from "./schema.ts";
import type { StudyData } from "./study_data.ts";
import type { PartContext } from "./task.ts";
import { validationScore } from "./validation.ts";

/** One training of a row. */
export interface RowTrainingOptions {
  /** Name of the row in tables. */
  readonly name: string;
  /** One value of each field. */
  readonly config: SettledConfig;
  /** Shares of WiSE-FT to try; one is taken as it is. */
  readonly shares: readonly number[];
  /** True if shares are scored though there is one, to be compared with other trainings. */
  readonly isCompared: boolean;
  /** Passes of trainings of the row that come after it. */
  readonly later: Pick<Passes, "train" | "validation">;
  readonly data: StudyData;
  readonly context: PartContext;
  /** Folder of its checkpoints. */
  readonly checkpoints: string;
  /** Keeps the epochs so far. */
  readonly onEpochs: (epochs: readonly EpochMetrics[]) => Promise<void>;
}

/** Result of a training. */
export interface TrainedRow {
  readonly epochs: readonly EpochMetrics[];
  /** Time, memory and best epoch. */
  readonly summary: Partial<RunSummary>;
  /** Each share with its score on the validation slices; none if nothing was to be chosen. */
  readonly tried: readonly Tried[];
}

/** A training of a row under way, from its last checkpoint or from the start. */
export class RowTraining {
  readonly #options: RowTrainingOptions;
  #epochs: EpochMetrics[] = [];

  /** Takes what is to be trained. */
  constructor(options: RowTrainingOptions) {
    this.#options = options;
  }

  /**
   * Trains, and scores every share of the trained weights.
   *
   * @param pretrained What it trains, as it was before.
   * @returns with the model at the trained weights.
   */
  async run(model: SliceModel, pretrained: StateDict): Promise<TrainedRow> {
    const { context, checkpoints } = this.#options;
    const found = await readCheckpoint(checkpoints);
    found?.damaged.forEach(context.log);
    if (found) await this.#tellState(found.state);
    return await context.interruption.saving(async () => {
      const summary = await this.#train(model, found?.state ?? null);
      const tried = await this.#tryShares(model, pretrained);
      return { epochs: this.#epochs, summary, tried };
    });
  }

  async #tellState({ position: { epoch, step, epochs } }: TrainingState): Promise<void> {
    const { name, config, context: { log, onKept }, onEpochs } = this.#options;
    this.#epochs = [...epochs];
    onKept();
    log(`${name}: going on after step ${step}, in epoch ${Math.min(epoch, config.epochs)}`);
    if (epochs.length > 0) await onEpochs(epochs);
  }

  async #train(model: SliceModel, from: TrainingState | null): Promise<Partial<RunSummary>> {
    const { name, config, data, context, checkpoints, onEpochs } = this.#options;
    const { folder, interruption, checkpointSeconds, onKept, forecast } = context;
    const { epochs } = config;
    const { split, parts, healthy, slices: reader } = data;
    const total = slicesOfEpoch(parts.train.length, config);
    const start = (epoch: number, done = 0) => {
      forecast.start("train", total, done);
      return rowProgress(name, `epoch ${epoch}/${epochs}`, { total, forecast });
    };
    const trained = from ? this.#leave(from) : 0;
    let progress = start(from?.position.epoch ?? 1, trained);
    const options: Parameters<typeof fit>[2] = {
      ...config,
      from,
      checkpointSeconds,
      signal: interruption.signal,
      onCheckpoint: async (state) => {
        folder.check();
        await writeCheckpoint(checkpoints, state);
        onKept();
      },
      onProgress: (update) => {
        forecast.advance(update.done);
        progress.update(update);
        if (update.done === update.total) forecast.start("validation", parts.validation.length);
      },
      onEpoch: async (epoch, best) => {
        forecast.advance(parts.validation.length);
        this.#epochs.push(epoch);
        await onEpochs(this.#epochs);
        progress.finish(
          `${name} ${describeEpoch(epoch, epochs)}${best ? " (best)" : ""}, ` +
            `${(epoch.seconds / epoch.steps).toFixed(2)} s a step`,
        );
        progress = start(epoch.epoch + 1);
      },
    };
    const fitted = await fit(
      model,
      { ...split, ...parts, healthy: healthy.train, reader },
      options,
    );
    this.#leaveAfter();
    return this.#summary(fitted);
  }

  #summary(
    { peakGpuBytes, bestEpoch, stoppedEarly, earlyStoppingEpoch }: Awaited<ReturnType<typeof fit>>,
  ): Partial<RunSummary> {
    // The first step compiles kernels and fills caches: the median epoch is what a step costs.
    const perStep = this.#epochs.map(({ seconds, steps }) => seconds / steps).sort((a, b) => a - b);
    return {
      secondsPerStep: perStep[perStep.length >> 1],
      trainSeconds: this.#epochs.reduce((sum, { seconds }) => sum + seconds, 0),
      peakGpuBytes,
      bestEpoch,
      stoppedEarly,
      earlyStoppingEpoch,
    };
  }

  /** Tells the forecast what a training that goes on has left; returns the slices of its epoch done. */
  #leave({ position: { epoch, batch } }: TrainingState): number {
    const { config, data: { parts: { train, validation } }, context, later } = this.#options;
    const left = Math.max(0, config.epochs - epoch + 1);
    const total = slicesOfEpoch(train.length, config);
    const done = Math.min(total, batch * config.batchSize);
    context.forecast.leave({
      train: later.train + left * total - done,
      validation: later.validation + left * validation.length + this.#validationsAfter(),
    });
    return done;
  }

  #leaveAfter(): void {
    const { context, later } = this.#options;
    const validation = later.validation + this.#validationsAfter();
    context.forecast.leave({ train: later.train, validation });
  }

  #validationsAfter(): number {
    const { shares, isCompared, data } = this.#options;
    return validationsAfter(isCompared ? shares.length : sharesTried(shares), data);
  }

  /** Scores the trained weights drawn back by each share, and puts them back as they were trained. */
  async #tryShares(model: SliceModel, pretrained: StateDict): Promise<Tried[]> {
    const { config, data, context, shares, isCompared, name } = this.#options;
    if (!isCompared && sharesTried(shares) === 0) return [];
    const { learningRate, epochs } = config;
    const trained = await model.sam.trainableState();
    const validation = { ...context, data, config, signal: context.interruption.signal };
    const tried: Tried[] = [];
    for (const share of shares) {
      drawBack(model.sam, { pretrained, trained }, share);
      const score = await validationScore(model, validation);
      tried.push({ learningRate, epochs, wiseFt: share, score });
    }
    drawBack(model.sam, { pretrained, trained }, 1);
    const list = tried.map(({ wiseFt, score }) => `${score.toFixed(3)} at ${wiseFt}`).join(", ");
    context.log(`${name}: WiSE-FT; validation score ${list}`);
    return tried;
  }
}

/** Shares of WiSE-FT that are tried on the validation slices: a single one is taken as it is. */
function sharesTried({ length }: readonly number[]): number {
  return length > 1 ? length : 0;
}

/** Draws the trained weights of a model back towards the pretrained ones by a share (WiSE-FT). */
export function drawBack(
  sam: Sam,
  weights: { pretrained: StateDict; trained: StateDict },
  share: number,
): void {
  const drawn = share === 1 ? weights.trained : wiseFt(weights, share);
  for (const [path, tensor] of sam.trainableParameters()) tensor.write(drawn.get(path)!.data);
}

/** Progress of a pass of a row. */
export function rowProgress(
  row: string,
  pass: string,
  { total, forecast }: { total: number; forecast: PartContext["forecast"] },
): Progress {
  const name = forecast.place === "" ? row : `${row} (${forecast.place})`;
  return new Progress({ label: `${name}, ${pass}`, total, forecast: () => `${forecast}` });
}

/** "epoch 3/50: loss …, validation loss …, validation Dice …". */
function describeEpoch(
  { epoch, trainLoss, validationLoss, validationDice }: EpochMetrics,
  epochs: number,
): string {
  return `epoch ${epoch}/${epochs}: loss ${trainLoss.toFixed(3)}, ` +
    `validation loss ${validationLoss.toFixed(3)}, validation Dice ${validationDice.toFixed(3)}`;
}
