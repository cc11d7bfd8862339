/**
 * One model under the whole protocol, as a table for a terminal.
 *
 * @module
 */
import type { MaskMetric } from "../metrics/mask_score.ts";
import type { Score } from "../metrics/metrics.ts";
import type { ProtocolSummary } from "../train/protocol_summary.ts";
import { absent, promptName } from "./format.ts";
import { gridText } from "./table.ts";

/** "79.1 [74.0, 83.2]" in per cent; no brackets where there is no interval. */
function withInterval(score?: Score): string {
  if (score === undefined) return absent;
  const mean = (100 * score.mean).toFixed(1);
  if (!score.interval) return mean;
  return `${mean} [${score.interval.map((bound) => (100 * bound).toFixed(1)).join(", ")}]`;
}

function figure(score: Score | undefined, scale: number, digits: number): string {
  return score === undefined ? absent : (scale * score.mean).toFixed(digits);
}

/** The columns of the metrics beside Dice, of slices or of cases. */
function others(scores: Readonly<Partial<Record<MaskMetric, Score>>>): string[] {
  return [
    figure(scores.iou, 100, 1),
    figure(scores.hd95, 1, 2),
    figure(scores.surfaceDice1mm, 100, 1),
    figure(scores.surfaceDice2mm, 100, 1),
    figure(scores.falsePositive, 1, 0),
    figure(scores.volumeError, 100, 1),
  ];
}

/** Every prompt's means over slices and over volumes, then clicks and strata by tumour size. */
export function protocolText({ prompts, clicks, strataEdges }: ProtocolSummary): string {
  const entries = Object.entries(prompts);
  const overlap = ["Dice (%) [95 %]", "IoU (%)", "HD95 (mm)", "SDice 1 mm (%)", "2 mm (%)"];
  const parts = [
    gridText({
      header: ["Slices", ...overlap, "FP (mm²)", "Area error (%)"],
      rows: entries.map(([prompt, { slices }]) => [
        promptName(prompt),
        withInterval(slices.dice),
        ...others(slices),
      ]),
    }),
  ];
  if (entries.some(([, { cases }]) => cases.dice)) {
    parts.push(gridText({
      header: ["Volumes", ...overlap, "FP (mm³)", "Volume error (%)"],
      rows: entries.map(([prompt, { cases }]) => [
        promptName(prompt),
        withInterval(cases.dice),
        ...others(cases),
      ]),
    }));
  }
  if (strataEdges) {
    const [low, high] = strataEdges.map((edge) => edge.toFixed(0));
    parts.push(gridText({
      header: ["Dice (%)", `up to ${low} mm²`, `up to ${high} mm²`, "larger"],
      rows: entries.map(([prompt, { strata }]) => [
        promptName(prompt),
        withInterval(strata.small),
        withInterval(strata.medium),
        withInterval(strata.large),
      ]),
    }));
  }
  if (clicks.length > 0) {
    parts.push(gridText({
      header: ["Clicks", ...clicks.map((_, i) => String(i + 1))],
      rows: [["Dice (%) [95 %]", ...clicks.map(withInterval)]],
    }));
  }
  return parts.join("\n\n") + "\n";
}
