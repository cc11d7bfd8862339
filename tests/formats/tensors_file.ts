import {
  encodeSafetensors,
  parseSafetensors,
  rawTensors,
  type Safetensors,
} from "../../lib/formats/safetensors.ts";
import { readBytes, writeFileAtomic } from "../../lib/fs.ts";
import type { HostState } from "../../lib/nn/host_state.ts";

/** Reads a safetensors file. */
export function readTensors(path: string): Safetensors {
  return parseSafetensors(readBytes(path), { source: path });
}

/** Writes a safetensors file. */
export async function writeTensors(
  path: string,
  state: HostState,
  { metadata, ...options }: { dtype?: "F32" | "F16"; metadata?: Record<string, string> } = {},
): Promise<void> {
  await writeFileAtomic(path, encodeSafetensors(rawTensors(state, options), { metadata }));
}
