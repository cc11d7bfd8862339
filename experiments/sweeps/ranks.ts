import { expect, lora, type Sweep, SWEEP_VALUES } from "../../lib/study/sweep.ts";
import { baselines, type Experiment, type Hypothesis } from "../../lib/study/experiment.ts";

/** The rank of the original study's question, under three rules for the scale of the update. */
export const ranks: Sweep = {
  asks: "Does Dice depend on the rank, and on how the update is scaled as the rank grows?",
  values: SWEEP_VALUES,
  experiments: () => [baselines.vanilla, baselines.peft, ...[1, 4, 16, 64, 256].flatMap(scalings)],
};

/** The scale at rank 16, where the three rules agree at alpha 16 and alpha / r = 1. */
const ALPHA = 16;

function scalings(rank: number): Experiment[] {
  const row = (rule: string, name: string, values: { alpha: number; rslora?: boolean }) =>
    lora(`${rule}_${rank}`, {
      label: `${name}, rank ${rank}`,
      rank,
      alpha: values.alpha,
      variants: values.rslora ? ["rslora"] : [],
      hypothesis: hypotheses[`${rule}_${rank}`],
    });
  return [
    row("ratio", "α/r = 1", { alpha: rank }),
    ...(rank === ALPHA ? [] : [row("alpha", "α = 16", { alpha: ALPHA })]),
    // alpha / sqrt(r) is 1 at rank 16 with alpha 4.
    ...(rank === ALPHA ? [] : [row("rslora", "rsLoRA", { alpha: Math.sqrt(ALPHA), rslora: true })]),
  ];
}

const hypotheses: Readonly<Record<string, Hypothesis>> = {
  ratio_1: expect(
    "no worse",
    "ratio_16",
    "Rank 1 is enough: no worse than rank 16 by a point of Dice (Hu et al. 2021, section 7.2).",
  ),
  ratio_4: expect(
    "no worse",
    "ratio_64",
    "Rank 4 is no worse than rank 64 by a point of Dice (Hu et al. 2021, table 6; SAMed chose 4).",
  ),
  ratio_256: expect(
    "no worse",
    "ratio_16",
    "With a sound loss and scale the highest rank does not collapse, other than in the original study.",
  ),
  alpha_256: expect(
    "less",
    "rslora_256",
    "At fixed alpha the update of rank 256 learns too little; rsLoRA mends it (Kalajdzievski 2023).",
  ),
  alpha_1: expect(
    "no worse",
    "ratio_1",
    "Adam makes up for the scale: alpha 16 at rank 1 is no worse than alpha 1.",
  ),
};
