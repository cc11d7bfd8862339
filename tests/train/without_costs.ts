import type { FitResult } from "../../lib/train/fit.ts";

/**
 * What a training came to but for its wall times and its device memory, in which two trainings that are
 * the same differ.
 */
export function withoutCosts<T extends Pick<FitResult, "epochs"> & Partial<FitResult>>(
  { peakGpuBytes: _, ...result }: T,
): Omit<T, "peakGpuBytes"> {
  return { ...result, epochs: result.epochs.map((metrics) => ({ ...metrics, seconds: 0 })) };
}
