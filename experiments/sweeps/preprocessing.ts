import { baselines } from "../../lib/study/experiment.ts";
import { expect, lora, type Sweep, SWEEP_VALUES } from "../../lib/study/sweep.ts";

/**
 * Crop, intensities and input side. Crops are compared on slices whose tumour they leave whole, and share
 * the whole slice's window of intensities: their rows differ in the crop alone.
 */
export const preprocessing: Sweep = {
  asks: "What do crop, intensity rescaling and input side do?",
  values: SWEEP_VALUES,
  experiments: ({ side }) => [
    baselines.vanilla,
    lora("reference", { label: "Whole slice, percentiles" }),
    ...[224, 192, 160, 128].map((crop) =>
      lora(`crop_${crop}`, {
        label: `Crop ${crop}`,
        crop,
        hypothesis: expect(
          "greater",
          "reference",
          `On slices whose tumour it leaves whole, a crop to ${crop} shows more detail at the same side.`,
        ),
      })
    ),
    ...(["zscore", "minmax"] as const).map((rescale) =>
      lora(`rescale_${rescale}`, {
        label: `Rescaled by ${rescale}`,
        rescale,
        hypothesis: expect(
          "no worse",
          "reference",
          `Training makes up for the rule: ${rescale} is no worse than percentiles by a point of Dice.`,
        ),
      })
    ),
    ...[side / 2, 2 * side].filter((other) => other % 64 === 0 && other <= 1024).map((other) =>
      lora(`side_${other}`, {
        label: `Side ${other}`,
        side: other,
        hypothesis: expect(
          other > side ? "greater" : "less",
          "reference",
          `Side ${other} gives ${other > side ? "higher" : "lower"} Dice than side ${side}: ` +
            "SAM's features are a sixteenth of the side (zero-shot Dice .80 at 256, .92 at 512).",
        ),
      })
    ),
  ],
};
