import { labelOf, METRICS } from "../metrics/metrics.ts";
import type { StudyVerdict } from "../study/results.ts";
import type { Cell } from "./document.ts";
import { absent, count, modelName, plural, probability, promptName, signed } from "./format.ts";

/** Header and rows of the hypotheses: differences in the metric's printed unit, with intervals. */
export function verdictTable(verdicts: readonly StudyVerdict[]): {
  header: string[];
  rows: Cell[][];
} {
  return {
    header: ["Hypothesis", "Compared", "Measure", "Expected", "Difference", "p", "n", "Verdict"],
    rows: verdicts.map((one) => {
      const { scale } = METRICS[one.metric];
      const { label, unit } = labelOf(one.metric, "slice");
      const points = (value: number | null) => value === null ? absent : signed(scale * value);
      const margin = Number((scale * one.margin).toPrecision(3));
      return [
        one.hypothesis,
        `${modelName(one.model)} − ${modelName(one.reference)}`,
        `${unit === "%" ? label : `${label}, ${unit}`}, ${promptName(one.prompt)}`,
        margin > 0 ? `${one.expected} (${margin})` : one.expected,
        { text: points(one.difference), sub: one.interval?.map(points).join(" to ") },
        probability(one.pHolm),
        count(one.patients),
        {
          text: one.paired === 0 ? "not comparable" : one.verdict,
          sub: one.unpaired > 0 && one.paired
            ? `on ${plural(one.paired, "shared slice")}`
            : undefined,
          strong: one.verdict !== "undecided",
        },
      ];
    }),
  };
}
