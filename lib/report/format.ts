/**
 * Figures as tables write them.
 *
 * @module
 */
import { labelOf, type Level, type MaskMetric, METRICS } from "../metrics/metrics.ts";
import { FEWEST_PATIENTS } from "../stats/bootstrap.ts";
import type { Score } from "../stats/summary.ts";

/** Text in place of a figure that there is not. */
export const absent = "–";

/** A difference with its sign; one that rounds to nothing has none. */
export function signed(points: number | null | undefined, digits = 1): string {
  if (points === null || points === undefined) return absent;
  const text = Math.abs(points).toFixed(digits);
  return Number(text) === 0 ? text : `${points < 0 ? "−" : "+"}${text}`;
}

/** Mean ± standard deviation in per cent. */
export function percent(score?: Score): string {
  if (score === undefined) return absent;
  return `${(100 * score.mean).toFixed(1)} ± ${(100 * score.sd).toFixed(1)}`;
}

/** The mean times `scale`. */
export function meanText(score: Score | undefined, scale = 100, digits = 1): string {
  return score === undefined ? absent : minus((scale * score.mean).toFixed(digits));
}

/** A metric's mean in its printed unit, without an interval; a signed error with its sign. */
export function metricText(name: MaskMetric, score?: Score): string {
  if (score === undefined) return absent;
  const { scale, decimals: [digits], direction } = METRICS[name];
  const points = scale * score.mean;
  return direction === "zero" ? signed(points, digits) : points.toFixed(digits);
}

/** "HD95 (mm)": a column's header for a metric. */
export function metricHeader(name: MaskMetric, level: Level): string {
  const { label, unit } = labelOf(name, level);
  return `${METRICS[name].header ?? label} (${unit})`;
}

/** The interval of a mean, times `scale`; by default in per cent. */
export function intervalText(score?: Score, scale = 100, digits = 1): string {
  if (!score?.interval) return absent;
  return score.interval.map((bound) => minus((scale * bound).toFixed(digits))).join(" to ");
}

/** Lowest and highest of some training seeds' means, in per cent; "–" where there are no seeds to compare. */
export function seedsText(means?: readonly number[]): string {
  if (means === undefined || means.length < 2) return absent;
  return `${(100 * Math.min(...means)).toFixed(1)} to ${(100 * Math.max(...means)).toFixed(1)}`;
}

/** Sentence on the intervals of means over so many patients, or on why there are none. */
export function intervalNote(patients: number): string {
  if (patients < FEWEST_PATIENTS) {
    return `Means have no interval: of fewer than ${FEWEST_PATIENTS} patients (here ${patients}) ` +
      `none holds what it promises.`;
  }
  return `Intervals: 95 %, by the studentised bootstrap over patients; none where fewer than ` +
    `${FEWEST_PATIENTS} patients have a score or all have the same.`;
}

/** A p value to three digits. */
export function probability(p?: number): string {
  if (p === undefined) return absent;
  return p < 0.001 ? "< 0.001" : p.toFixed(3);
}

/** A duration to three significant digits. */
export function seconds(value?: number): string {
  if (value === undefined) return absent;
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** A whole number with separators of thousands. */
export function count(value?: number): string {
  return value === undefined ? absent : value.toLocaleString("en-US");
}

/** Bytes in MiB. */
export function mebibytes(value?: number): string {
  return value === undefined ? absent : (value / 2 ** 20).toFixed(0);
}

/** "1 slice", "48 slices". */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/**
 * Name of a row or model for readers. The baseline that trains the mask decoder alone is called PEFT in a
 * study's files, which is the library's name too.
 */
export function modelName(name: string): string {
  return name.replace(/^PEFT(?=$|,)/, "PEFT (decoder only)");
}

/** "tight box", "box ±20 %", "5 points", "3 clicks". */
export function promptName(prompt: string): string {
  const number = /\d+$/.exec(prompt)?.[0];
  if (prompt.startsWith("jittered-box")) return `box ±${number ?? 20} %`;
  if (number) return `${number} ${prompt.slice(0, prompt.lastIndexOf("-"))}`;
  return prompt.replaceAll("-", " ");
}

/** A number's text with a true minus sign. */
function minus(text: string): string {
  return text.replace(/^-/, "−");
}
