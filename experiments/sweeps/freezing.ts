import { MODELS } from "../../lib/sam/models.ts";
import { baselines, type Experiment } from "../../lib/study/experiment.ts";
import { expect, type Sweep, SWEEP_VALUES } from "../../lib/study/sweep.ts";

/** Share of the model that is trained whole, from the decoder back to the first layer. */
export const freezing: Sweep = {
  asks: "How far back from the decoder is training whole weights worth its cost?",
  values: { ...SWEEP_VALUES, learningRate: 3e-4 },
  experiments: (config) => {
    const neck = ["mask_decoder", "image_encoder.neck"];
    const row = (
      name: string,
      { modules, ...rest }: Pick<Experiment, "label" | "hypothesis" | "modules">,
    ): Experiment => ({ name, kind: "full", modules, ...rest });
    return [
      baselines.vanilla,
      baselines.peft,
      row("decoder_neck", {
        label: "Decoder, neck",
        modules: neck,
        hypothesis: expect("greater", "peft", "The neck beside the decoder helps: it is cheap."),
      }),
      row("decoder_last_stage", {
        label: "Decoder, neck, last stage",
        modules: [...neck, ...MODELS[config.model].lastStage],
        hypothesis: expect(
          "greater",
          "decoder_neck",
          "The last stage beside decoder and neck helps, as adapters in late blocks do (peft-sam, Teuber et al. 2025).",
        ),
      }),
      row("everything", {
        label: "Encoder, decoder",
        modules: ["mask_decoder", "image_encoder"],
        hypothesis: expect(
          "greater",
          "decoder_last_stage",
          "All of encoder and decoder beats its last stage: low-level features of MRI are not those of photographs.",
        ),
      }),
    ];
  },
};
