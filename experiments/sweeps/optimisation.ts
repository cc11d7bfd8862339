import { baselines } from "../../lib/study/experiment.ts";
import { expect, lora, type Sweep, SWEEP_VALUES } from "../../lib/study/sweep.ts";

/** Learning rate and weight decay of the adapters. */
export const optimisation: Sweep = {
  asks: "Which learning rate and weight decay do adapters want?",
  values: SWEEP_VALUES,
  experiments: () => [
    baselines.vanilla,
    lora("lr_1e3", { label: "lr 1e-3", learningRate: 1e-3 }),
    lora("lr_1e5", {
      label: "lr 1e-5",
      learningRate: 1e-5,
      hypothesis: expect(
        "less",
        "lr_1e3",
        "1e-5, usual for whole models, is too low for adapters.",
      ),
    }),
    lora("lr_1e4", {
      label: "lr 1e-4",
      learningRate: 1e-4,
      hypothesis: expect("less", "lr_1e3", "In few epochs 1e-4 does not get as far as 1e-3."),
    }),
    lora("lr_3e4", {
      label: "lr 3e-4",
      learningRate: 3e-4,
      hypothesis: expect("no worse", "lr_1e3", "Between 3e-4 and 1e-3 nothing much changes."),
    }),
    lora("lr_3e3", {
      label: "lr 3e-3",
      learningRate: 3e-3,
      hypothesis: expect("no worse", "lr_1e3", "Clipped and warmed up, 3e-3 still trains as well."),
    }),
    lora("lr_1e2", {
      label: "lr 1e-2",
      learningRate: 1e-2,
      hypothesis: expect("less", "lr_1e3", "1e-2 is beyond what adapters of the pretrained take."),
    }),
    ...([["1e4", 1e-4], ["1e2", 1e-2], ["1e1", 1e-1]] as const).map(([name, weightDecay]) =>
      lora(`decay_${name}`, {
        label: `Weight decay ${weightDecay}`,
        learningRate: 1e-3,
        weightDecay,
        hypothesis: expect(
          "no worse",
          "lr_1e3",
          `A decoupled decay of ${weightDecay} moves few steps by little: no worse than none.`,
        ),
      })
    ),
  ],
};
