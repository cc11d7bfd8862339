/** Shape of the learning rate after the warm-up. */
export type Schedule = "cosine" | "constant";

/** Options of {@linkcode learningRateAt}. */
export interface ScheduleOptions {
  /** Highest learning rate. */
  readonly learningRate: number;
  /** Steps over which the learning rate rises linearly to that. */
  readonly warmupSteps: number;
  /** Steps in all. */
  readonly totalSteps: number;
  /** Shape after the warm-up. Default `cosine`: down to 0, reached one step after the last. */
  readonly schedule?: Schedule;
}

/**
 * Learning rate of a step, counted from 0: linear warm-up times a half cosine over all steps
 * (Loshchilov and Hutter 2017, eq. 5, without restarts), or constant after the warm-up.
 */
export function learningRateAt(step: number, options: ScheduleOptions): number {
  const { learningRate, warmupSteps, totalSteps, schedule = "cosine" } = options;
  const warmup = Math.min(1, (step + 1) / Math.max(1, warmupSteps));
  const progress = Math.min(1, step / Math.max(1, totalSteps));
  const decay = schedule === "cosine" ? 0.5 + 0.5 * Math.cos(Math.PI * progress) : 1;
  return learningRate * warmup * decay;
}
