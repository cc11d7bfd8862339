import { dirname, join } from "node:path";
import process from "node:process";
import { InputError } from "./errors.ts";

let serial = 0;

/**
 * Writes a whole file or nothing: the content goes to a temporary name in the same folder, which is
 * created if needed, and is renamed onto `path` once it is complete.
 *
 * @throws {InputError} if the folder cannot be written to.
 */
export async function writeFileAtomic(path: string, content: Uint8Array | string): Promise<void> {
  const temporary = `${path}.${process.pid}.${serial++}.tmp`;
  try {
    await Deno.mkdir(dirname(path), { recursive: true });
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    await Deno.writeFile(temporary, bytes);
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(
      `cannot write ${path} (${reason}): choose a folder that can be written to`,
    );
  }
}

/**
 * The folder for files that can be made again: `$SAMLORA_CACHE`, else `$XDG_CACHE_HOME/samlora`, else
 * `~/.cache/samlora`.
 */
export function cacheDir(...parts: string[]): string {
  const own = Deno.env.get("SAMLORA_CACHE");
  if (own) return join(own, ...parts);
  const base = Deno.env.get("XDG_CACHE_HOME") || join(Deno.env.get("HOME") ?? ".", ".cache");
  return join(base, "samlora", ...parts);
}
