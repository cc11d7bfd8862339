import { quantile } from "./summary.ts";

/** A third of a data set by size. */
export type SizeStratum = "small" | "medium" | "large";

/** All strata, smallest first. */
export const SIZE_STRATA: readonly SizeStratum[] = ["small", "medium", "large"];

/** The two sizes that part a set into thirds: its 1/3 and 2/3 quantiles. */
export function tertiles(sizes: readonly number[]): [low: number, high: number] {
  return [quantile(sizes, 1 / 3), quantile(sizes, 2 / 3)];
}

/** The third that a size falls into; a size at an edge belongs to the smaller third. */
export function stratumOf(size: number, [low, high]: readonly [number, number]): SizeStratum {
  return size <= low ? "small" : size <= high ? "medium" : "large";
}
