/**
 * Values of a training that its adapter has to be used with, and what else an adapter's file says of its
 * training: the pretrained weights, the presence rule and the slices that it has seen.
 *
 * @module
 */
import * as v from "valibot";
import type { Adapter } from "../adapters/adapter.ts";
import { centreCrop, RESCALE_METHODS, type RescaleMethod } from "../data/preprocess.ts";
import { planeOf, whole } from "../data/plane.ts";
import { THUMBNAIL_BYTES, Thumbnails } from "../data/thumbnails.ts";
import { excerpt, InputError } from "../errors.ts";
import { GuardError } from "../evaluate/guards.ts";
import { PRESENCE_NAMES, type PresenceRule } from "../evaluate/presence.ts";
import type { Volume } from "../formats/volume.ts";
import { MODEL_NAMES, type ModelName, SAM_SIDES } from "../sam/models.ts";
import type { SliceGrid } from "./prompts.ts";

/** Keys of a safetensors file's metadata. */
export const METADATA = {
  /** The run as JSON. */
  run: "samlora_run",
  /** Identity of the pretrained weights. */
  base: "samlora_base",
  /** Thumbnails of the slices that it was trained on, in base64. */
  slices: "samlora_slices",
} as const;

/** Checks of the values by which a model is shown slices. */
export const RECIPE = {
  /** Name of the pretrained model. */
  model: v.picklist(MODEL_NAMES),
  /** Side of its input in pixels. */
  side: v.pipe(
    v.number(),
    v.integer(),
    v.minValue(SAM_SIDES.least),
    v.maxValue(SAM_SIDES.most),
    v.multipleOf(SAM_SIDES.multiple, `give a multiple of ${SAM_SIDES.multiple}`),
  ),
  /** Voxel axis that slices are perpendicular to. */
  axis: v.picklist([0, 1, 2]),
  /** Side of the centre crop in pixels; null for none. */
  crop: v.nullable(v.pipe(v.number(), v.integer(), v.minValue(1))),
  /** Rule that maps intensities to 0..255. */
  rescale: v.picklist(RESCALE_METHODS),
} as const;

/** Values by which a model is shown slices. */
export interface Recipe {
  /** Name of the pretrained model. */
  readonly model: ModelName;
  /** Side of its input in pixels. */
  readonly side: number;
  /** Voxel axis that slices are perpendicular to. */
  readonly axis: 0 | 1 | 2;
  /** Side of the centre crop in pixels; null for none. */
  readonly crop: number | null;
  /** Rule that maps intensities to 0..255. */
  readonly rescale: RescaleMethod;
}

/** The slices of a volume as a model is shown them. */
export function gridOf(volume: Volume, { axis, crop }: Pick<Recipe, "axis" | "crop">): SliceGrid {
  const plane = planeOf(volume, axis);
  const window = crop === null ? whole(plane) : centreCrop(plane, crop);
  return { axis, plane, window, count: volume.shape[axis] };
}

/** The part of a run's description that using its adapter takes. */
const runSchema = v.object({
  config: v.object({ ...RECIPE, model: v.optional(RECIPE.model, "mobile_sam") }),
  presence: v.optional(v.object({
    score: v.picklist(PRESENCE_NAMES),
    threshold: v.pipe(v.number(), v.finite()),
  })),
});

/**
 * The JSON by which an adapter's file says what run made it; null if it says nothing.
 *
 * @throws {InputError} if it is no JSON.
 */
export function runJson({ metadata, source }: Adapter): unknown {
  const own = metadata[METADATA.run];
  if (!own?.startsWith("{")) return null;
  try {
    return JSON.parse(own);
  } catch {
    throw unsound(source, "what it was trained by");
  }
}

/**
 * The values that an adapter was trained with, and its presence rule, as its own file has them; null if it
 * does not say.
 *
 * @throws {InputError} if what it says is damaged.
 */
export function recipeOf(
  adapter: Adapter,
): { recipe: Recipe; presence: PresenceRule | null } | null {
  const json = runJson(adapter);
  if (json === null) return null;
  const read = v.safeParse(runSchema, json);
  if (!read.success) throw unsound(adapter.source, "what it was trained by");
  const { config, presence = null } = read.output;
  return { recipe: config, presence };
}

/**
 * Thumbnails of the slices that an adapter was trained on; null if its file does not hold them.
 *
 * @throws {InputError} if they are damaged.
 */
export function trainingSlices({ metadata, source }: Adapter): Thumbnails | null {
  const text = metadata[METADATA.slices];
  if (text === undefined) return null;
  let bytes = new Uint8Array(0);
  try {
    bytes = Uint8Array.fromBase64(text);
  } catch {
    // Refused below.
  }
  if (bytes.length > 0 && bytes.length % THUMBNAIL_BYTES === 0) return new Thumbnails(bytes);
  throw unsound(source, "what slices it was trained on");
}

function unsound(source: string, what: string): InputError {
  return new InputError(`${source} says unsoundly ${what}: get it again`);
}

/** Most slices that a sentence names. */
const NAMED = 3;

/**
 * Says that slices look like some that an adapter was trained on. Neighbours of these within about 3 mm
 * of a volume look alike as well: whatever their names, they are of a patient that it has seen.
 *
 * @param ids Those slices.
 * @param total All that are looked at.
 */
export function lookAlikeSentence(ids: readonly string[], total: number): string {
  const more = ids.length > NAMED ? ", …" : "";
  return `${ids.length} of ${total} slices look like slices that the adapter was trained on, as they ` +
    `are, mirrored or turned (${ids.slice(0, NAMED).map(excerpt).join(", ")}${more}): figures of ` +
    `these say nothing about new patients.`;
}

/** Identity of weights by their description: a file's SHA-256, whatever its name, or a package with its version. */
export function identityOf(weights: string): string {
  return /sha256 [0-9a-f]+/.exec(weights)?.[0] ?? weights;
}

/**
 * Checks that an adapter was trained on the weights that it is used with. One that does not say is taken
 * as it is.
 *
 * @param weights Their description.
 * @throws {GuardError} if it was trained on others.
 */
export function requireTrainedOn({ metadata, source }: Adapter, weights: string): void {
  const trainedOn = metadata[METADATA.base];
  const used = identityOf(weights);
  if (trainedOn === undefined || used === trainedOn) return;
  throw new GuardError(
    "foreign-adapter",
    `${source} was trained on other weights (${excerpt(trainedOn)}) than those it is used with ` +
      `(${used}), so that its masks would mean nothing: name its own weights with --weights`,
  );
}
