import { InputError } from "../errors.ts";
import { parseOnnx } from "../formats/onnx.ts";
import { hostWeights, type WeightSource } from "../nn/weight_source.ts";
import { mobileSamWeights } from "./mobile_sam.ts";
import type { Checkpoint } from "./models.ts";
import type { OnnxPart } from "./names.ts";

/**
 * Checks that bytes are a published file's.
 *
 * @param options.name Name of the file, for the message.
 * @param options.remedy End of the message: the way to get it again.
 * @throws {InputError} if their SHA-256 is another.
 */
export async function requirePublished(
  bytes: Uint8Array<ArrayBuffer>,
  { sha256 }: Pick<Checkpoint, "sha256">,
  { name, remedy }: { name: string; remedy: string },
): Promise<void> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  if (digest === sha256) return;
  throw new InputError(
    `${name} is not the published file (SHA-256 ${digest} instead of ${sha256}): ${remedy}`,
  );
}

/**
 * Weights that come as the two ONNX graphs of an installed package.
 *
 * @param read Reads one of them, checked.
 */
export async function packagedWeights(
  { encoder, decoder }: Readonly<Record<OnnxPart, Checkpoint>>,
  read: (file: Checkpoint) => Promise<Uint8Array>,
): Promise<WeightSource> {
  const graph = async (file: Checkpoint) =>
    parseOnnx(await read(file), { source: file.baseUrl + file.file });
  const graphs = await Promise.all([graph(encoder), graph(decoder)]);
  const state = mobileSamWeights({ encoder: graphs[0], decoder: graphs[1] });
  return hostWeights(state, encoder.baseUrl);
}
