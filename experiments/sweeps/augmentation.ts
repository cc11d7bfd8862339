import { AUGMENT_DEFAULTS, AUGMENTATIONS } from "../../lib/data/augment_options.ts";
import { baselines } from "../../lib/study/experiment.ts";
import { expect, lora, type Sweep, SWEEP_VALUES } from "../../lib/study/sweep.ts";

/** Each augmentation alone, and all together. */
export const augmentation: Sweep = {
  asks: "Which augmentations help adapters on a few dozen patients, alone and together?",
  values: SWEEP_VALUES,
  experiments: () => [
    baselines.vanilla,
    lora("plain", { label: "No augmentation", flip: 0, augment: {} }),
    lora("flip", {
      label: "Flips",
      flip: 0.5,
      augment: {},
      hypothesis: expect("greater", "plain", "Flips help: they double the data at no cost."),
    }),
    ...AUGMENTATIONS.map((name) =>
      lora(name.replace("-", "_"), {
        label: `${name[0].toUpperCase()}${name.slice(1).replace("-", " ")}`,
        flip: 0,
        augment: { [name]: AUGMENT_DEFAULTS[name] },
        hypothesis: expect(
          "no worse",
          "plain",
          `${name} alone does not hurt: it is mild, and prompts already tell where the tumour is.`,
        ),
      })
    ),
    lora("all", {
      label: "All",
      flip: 0.5,
      augment: AUGMENT_DEFAULTS,
      hypothesis: expect(
        "greater",
        "plain",
        "All together help where patients are few: nnU-Net augments so by default (Isensee et al. 2021).",
      ),
    }),
  ],
};
