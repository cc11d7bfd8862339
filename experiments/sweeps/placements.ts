import { type EncoderTargets, MODELS } from "../../lib/sam/models.ts";
import { baselines, type Experiment } from "../../lib/study/experiment.ts";
import {
  blocksOf,
  DECODER_ATTENTION,
  expect,
  lora,
  type Sweep,
  SWEEP_VALUES,
} from "../../lib/study/sweep.ts";

/**
 * Places of the adapters: encoder or decoder, which blocks, which layers. They learn at the rate that the
 * sweep `optimisation` found best for few steps; at a third of it those in qkv hardly move. Pretrained
 * weights, which would not stand it, learn as in `freezing`.
 */
export const placements: Sweep = {
  asks:
    "Where do adapters of one rank do most: in the encoder or the decoder, in which blocks, layers?",
  values: { ...SWEEP_VALUES, learningRate: 3e-3, pretrainedLearningRate: 3e-4 },
  experiments: (config) => [
    baselines.vanilla,
    baselines.peft,
    baselines.full,
    ...parts,
    ...blockRows(blocksOf(config)),
    ...layerRows(MODELS[config.model].targets),
  ],
};

const targets = ["attn.qkv"];

/** Encoder, decoder or both. */
const parts: readonly Experiment[] = [
  lora("decoder", {
    label: "Decoder",
    targets: [...DECODER_ATTENTION],
    hypothesis: expect(
      "less",
      "encoder",
      "Adapters in the decoder's attention do less than in the encoder's, where what it sees is decided.",
    ),
  }),
  lora("encoder", {
    label: "Encoder",
    targets,
    hypothesis: expect(
      "greater",
      "peft",
      "MRI is unlike SAM's photographs, so adapting the encoder beats training the decoder alone.",
    ),
  }),
  lora("encoder_decoder", {
    label: "Encoder, decoder",
    targets: [...targets, ...DECODER_ATTENTION],
    hypothesis: expect(
      "greater",
      "encoder",
      "Adapters in encoder and decoder together beat those in the encoder alone (as both did best in finetune-SAM, Gu et al. 2025).",
    ),
  }),
  lora("encoder_trained_decoder", {
    label: "Encoder, trained decoder",
    targets,
    modulesToSave: ["mask_decoder"],
    hypothesis: expect(
      "no worse",
      "full",
      "Adapters with the trained decoder, as in SAMed, are no worse than training all weights (Hu et al. 2021, of language models).",
    ),
  }),
];

/** Some blocks of the encoder, by their numbers. */
function blockRows(blocks: readonly number[]): Experiment[] {
  const third = Math.round(blocks.length / 3);
  const middle = (blocks.length - third) >> 1;
  const one = (block: number) => ({ blocks: [block], label: `Block ${block}` });
  return [
    lora("first_blocks", {
      label: `First ${third} blocks`,
      targets,
      blocks: blocks.slice(0, third),
      hypothesis: expect("less", "encoder", "The first blocks alone do less than all blocks."),
    }),
    lora("middle_blocks", {
      label: `Middle ${third} blocks`,
      targets,
      blocks: blocks.slice(middle, middle + third),
      hypothesis: expect("less", "encoder", "The middle blocks alone do less than all blocks."),
    }),
    lora("last_blocks", {
      label: `Last ${third} blocks`,
      targets,
      blocks: blocks.slice(-third),
      hypothesis: expect(
        "no worse",
        "encoder",
        "The last blocks alone are almost enough: no worse than all by a point of Dice (peft-sam, Teuber et al. 2025).",
      ),
    }),
    lora("first_block", { ...one(0), targets }),
    lora("middle_block", { ...one(blocks.length >> 1), targets }),
    lora("last_block", {
      ...one(blocks.length - 1),
      targets,
      hypothesis: expect(
        "greater",
        "first_block",
        "Of single blocks a late one does more than the first, since late blocks together almost suffice (peft-sam).",
      ),
    }),
  ];
}

/** Some layers of every block. */
function layerRows({ attention, mlp }: EncoderTargets): Experiment[] {
  return [
    lora("q_v", {
      label: "Queries, values",
      targets,
      qkvParts: ["q", "v"],
      hypothesis: expect(
        "no worse",
        "encoder",
        "Queries and values are enough: no worse than with the keys (Hu et al. 2021, section 7.1; SAMed adapts these two).",
      ),
    }),
    lora("mlp", {
      label: "MLP",
      targets: mlp,
      hypothesis: expect(
        "greater",
        "encoder",
        "Perceptrons are a better place than attention (He et al. 2022, of language models).",
      ),
    }),
    lora("all_linear", {
      label: "All Linears",
      targets: [...attention, ...mlp],
      hypothesis: expect(
        "greater",
        "encoder",
        "Adapting every Linear of the encoder beats adapting qkv alone (Dettmers et al. 2023, section 4, of language models).",
      ),
    }),
  ];
}
