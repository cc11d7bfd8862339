import type { FitResult } from "../../lib/train/trainer.ts";

/** What a training came to but for its wall times, in which two trainings that are the same differ. */
export function withoutTimes<T extends Pick<FitResult, "epochs">>(result: T): T {
  return { ...result, epochs: result.epochs.map((metrics) => ({ ...metrics, seconds: 0 })) };
}
