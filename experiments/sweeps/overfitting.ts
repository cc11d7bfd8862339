import { AUGMENT_DEFAULTS } from "../../lib/data/augment_options.ts";
import { baselines } from "../../lib/study/experiment.ts";
import { expect, lora, type Sweep, SWEEP_VALUES } from "../../lib/study/sweep.ts";

/** The original study's long training, scored at its end as the study did, and what may cure it. */
export const overfitting: Sweep = {
  asks: "Does LoRA-64 overfit in 50 epochs, and what cures it?",
  values: {
    ...SWEEP_VALUES,
    epochs: 50,
    earlyStopping: false,
    patience: 5,
    keep: "last",
    schedule: "constant",
    flip: 0,
  },
  experiments: () => {
    const cure = (sentence: string) => expect("greater", "lora_64", sentence);
    return [
      baselines.vanilla,
      lora("lora_64", {
        label: "LoRA-64",
        rank: 64,
        hypothesis: expect(
          "less",
          "early_stopping",
          "After 50 epochs LoRA-64 is worse than at its best: the original study's losses rise after epoch 34.",
        ),
      }),
      lora("early_stopping", {
        label: "Early stopping",
        rank: 64,
        earlyStopping: true,
        keep: "best",
      }),
      lora("moving_average", {
        label: "Moving average",
        rank: 64,
        ema: 0.99,
        hypothesis: cure("The moving average of the weights forgets less of what generalised."),
      }),
      lora("augmented", {
        label: "Augmentation",
        rank: 64,
        flip: 0.5,
        augment: AUGMENT_DEFAULTS,
        hypothesis: cure(
          "With all augmentations 50 epochs see no slice twice, and do not overfit.",
        ),
      }),
      lora("dropout", {
        label: "Dropout 0.3",
        rank: 64,
        dropout: 0.3,
        hypothesis: cure("Dropout before the adapters slows their learning by heart."),
      }),
      lora("weight_decay", {
        label: "Weight decay 0.1",
        rank: 64,
        weightDecay: 0.1,
        hypothesis: cure("Weight decay draws the update back to the pretrained weights."),
      }),
      lora("lora_4", {
        label: "LoRA-4",
        rank: 4,
        hypothesis: cure("A sixteenth of the rank cannot learn as much by heart."),
      }),
    ];
  },
};
