/**
 * One model under the whole protocol, as a table for a terminal.
 *
 * @module
 */
import { metricsAt } from "../metrics/metrics.ts";
import type { Score } from "../stats/summary.ts";
import type { MetricSummary, ProtocolSummary } from "../evaluate/protocol_summary.ts";
import { absent, intervalNote, metricHeader, metricText, plural, promptName } from "./format.ts";
import { gridText } from "./table.ts";

/** "79.1 [74.0, 83.2]" in per cent; no brackets where there is no interval. */
function withInterval(score?: Score): string {
  if (score === undefined) return absent;
  const mean = (100 * score.mean).toFixed(1);
  if (!score.interval) return mean;
  return `${mean} [${score.interval.map((bound) => (100 * bound).toFixed(1)).join(", ")}]`;
}

/** Means of every metric of a level by prompt, Dice with its interval. */
function metricGrid(
  level: "slice" | "case",
  entries: readonly (readonly [prompt: string, scores: MetricSummary])[],
): string {
  const others = metricsAt(level).filter((name) => name !== "dice");
  return gridText({
    header: [
      level === "slice" ? "Slices" : "Volumes",
      "Dice (%) [95 %]",
      ...others.map((name) => metricHeader(name, level)),
    ],
    rows: entries.map(([prompt, scores]) => [
      promptName(prompt),
      withInterval(scores.dice),
      ...others.map((name) => metricText(name, scores[name])),
    ]),
  });
}

/** Every prompt's means of slices and of volumes over patients, then clicks and strata by tumour size. */
export function protocolText({ prompts, clicks, strataEdges }: ProtocolSummary): string {
  const entries = Object.entries(prompts);
  if (entries.length === 0) {
    return "No slice has tumour to draw a prompt from: there is nothing to score.\n";
  }
  const patients = Math.max(...entries.map(([, { slices }]) => slices.dice?.n ?? 0));
  const parts = [
    `Means over ${plural(patients, "patient")}, each of whom has the mean over their slices or ` +
    `volumes. ${intervalNote(patients)}`,
    metricGrid("slice", entries.map(([prompt, { slices }]) => [prompt, slices])),
  ];
  if (entries.some(([, { cases }]) => cases.dice)) {
    parts.push(metricGrid("case", entries.map(([prompt, { cases }]) => [prompt, cases])));
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
