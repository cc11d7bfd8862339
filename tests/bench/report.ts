// deno task bench:report: figures, tables and roofline pictures from what the benchmarks wrote down.
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { describeAdapter } from "../../lib/study/environment.ts";
import { runMain } from "../../lib/study/main.ts";
import { InputError } from "../../lib/errors.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
import { rasterize } from "../../lib/report/rasterize.ts";
import { BUSY, unknownOption } from "./command_line.ts";
import { type AdapterType, figures, type Results } from "./figures.ts";
import type { KernelResult } from "./kernels.ts";
import { table } from "./measure.ts";
import { MODEL_CASES, type ModelResult } from "./models.ts";
import type { BenchRecord } from "./record.ts";
import { roofline } from "./roofline.ts";
import { type ProfileResult, profileTitle } from "./step_profile.ts";
import {
  hostTable,
  kernelTable,
  memoryTable,
  modelTable,
  peerProductTable,
  peerStepTable,
  perSecond,
  profileTable,
} from "./tables.ts";

const usage = `usage: deno task bench:report [FOLDER]

Reads the records (*.json) of a folder, results/bench by default, and writes its README.md with the
figures to reach, and a roofline picture for each adapter.
`;

/** Records of one GPU adapter together. */
export interface AdapterResults {
  /** Oldest first. */
  readonly records: readonly BenchRecord[];
  /** Of every part the newest. */
  readonly results: Results;
}

/** A name for files from an adapter's: "llvmpipe (LLVM 15, 256 bits)" becomes "llvmpipe". */
export function adapterSlug(name: string): string {
  return name.replace(/\(.*/, "").trim().toLowerCase().replaceAll(/[^a-z0-9]+/g, "_");
}

/** The entries of two lists, of equal keys the newer. */
function merged<Entry>(
  older: readonly Entry[] | undefined,
  newer: readonly Entry[] | undefined,
  key: (entry: Entry) => string,
): Entry[] {
  const entries = [...(older ?? []), ...(newer ?? [])].map((entry) => [key(entry), entry] as const);
  return [...new Map(entries).values()];
}

/** Place of a model among all that are measured, from fast to slow. */
function placeOf({ model, side }: ModelResult): number {
  return MODEL_CASES.findIndex((one) => one.model === model && one.side === side);
}

/** Puts records together by adapter: newer parts replace older ones, models and steps one by one. */
export function combine(records: readonly BenchRecord[]): Map<string, AdapterResults> {
  const sorted = [...records].sort((a, b) => a.environment.date < b.environment.date ? -1 : 1);
  const byAdapter = new Map<string, AdapterResults>();
  for (const record of sorted) {
    const { adapter } = record.environment;
    const before = byAdapter.get(adapter.name);
    const newer = record.results as Results;
    const results = {
      ...before?.results,
      ...newer,
      ...(newer.models && {
        models: merged(
          before?.results.models,
          newer.models,
          ({ model, side }) => `${model} ${side}`,
        ).toSorted((a, b) => placeOf(a) - placeOf(b)),
      }),
      ...(newer.profiles && {
        profiles: merged(before?.results.profiles, newer.profiles, profileTitle),
      }),
      ...(newer.peerSteps && {
        peerSteps: merged(
          before?.results.peerSteps,
          newer.peerSteps,
          ({ model, side, kind }) => `${model} ${side} ${kind}`,
        ),
      }),
    };
    byAdapter.set(adapter.name, {
      records: [...before?.records ?? [], record],
      results,
    });
  }
  return byAdapter;
}

/** Speed of the fastest matrix product, in GFLOP/s. */
function bestProduct(kernels: readonly KernelResult[]): number {
  return Math.max(
    ...kernels.filter(({ sort }) => sort === "product")
      .map(({ flops, milliseconds }) => perSecond(flops, milliseconds)),
  );
}

/** Time of a step if all its products were as fast as the fastest, and nothing else took time. */
function productFloor({ kernels, wallMilliseconds }: ProfileResult, gflops: number): string {
  const products = kernels.filter(({ flops }) => flops > 0);
  const sum = (value: (kernel: ProfileResult["kernels"][number]) => number) =>
    products.reduce((total, kernel) => total + value(kernel), 0);
  const flops = sum(({ flops }) => flops);
  return `Kernels that multiply took ${sum(({ milliseconds }) => milliseconds).toFixed(0)} of ` +
    `${wallMilliseconds.toFixed(0)} ms. At the speed of our fastest product, ` +
    `${gflops.toPrecision(3)} GFLOP/s, their ${(flops / 1e9).toPrecision(3)} GFLOP alone take ` +
    `${(flops / gflops / 1e6).toFixed(0)} ms: the floor of this step.`;
}

/** The picture of an adapter's kernels, if they were measured. */
export function picture(name: string, { kernels, peerProducts }: Results): string | null {
  if (!kernels) return null;
  const products = kernels.kernels.filter(({ sort }) => sort === "product");
  const best = bestProduct(kernels.kernels);
  const library = Math.max(
    ...products.flatMap(({ flops, ceilingMilliseconds }) =>
      ceilingMilliseconds ? [perSecond(flops, ceilingMilliseconds)] : []
    ),
  );
  const copy = kernels.kernels.find(({ name }) => name.startsWith("copy"))!;
  const libraryName = kernels.library ?? peerProducts?.libraries.at(-1)?.name ?? "library";
  return roofline(`Kernels on ${name}`, kernels.kernels, {
    compute: [
      ...(Number.isFinite(library) ? [{ name: libraryName, gflops: library }] : []),
      { name: "our best matrix product", gflops: best },
    ],
    memory: {
      name: "our copy of 64 MiB",
      gigabytes: perSecond(copy.bytes, copy.milliseconds),
    },
  });
}

/** A profile without the kernels that take less than a hundredth of it. */
function longOnes(profile: ProfileResult): ProfileResult {
  const least = profile.wallMilliseconds / 100;
  return {
    ...profile,
    kernels: profile.kernels.filter(({ milliseconds }) => milliseconds >= least),
  };
}

/** The commands that were run, and what they ran on. */
function runsTable(records: readonly BenchRecord[]): string {
  return table(
    ["Command", "Date", "Machine", "Deno", "Load at the start"],
    records.map(({ environment, loadAverage: { start: [load] } }) => [
      `\`${environment.command.replace(/ --json \S+/, "")}\``,
      environment.date.slice(0, 10),
      environment.os,
      environment.deno,
      load.toFixed(2) + (load > BUSY ? " (busy: too slow)" : ""),
    ]),
  );
}

/** The figures to reach, and those that were seen. */
function figuresTable(results: Results, type: AdapterType): string {
  return table(
    ["Figure", "Target", "Seen", "Met", "Command"],
    figures(results, type).map(({ name, target, seen, met, command }) => [
      name,
      target,
      seen ?? "not measured",
      met === null ? "–" : met ? "yes" : "no",
      `\`${command}\``,
    ]),
  );
}

/** The figures of models, and what did not run. */
function modelParts(models: readonly ModelResult[]): string[] {
  const ceiling = models.find(({ step }) => step?.ceiling)?.step?.ceiling?.name ?? "not measured";
  const errors = models.flatMap(({ errors }) => errors);
  return [
    "### Models",
    modelTable(models),
    "Operations are 2 x multiply-adds, counted from the products that are dispatched, recomputed ones " +
    `included. The ceiling is ${ceiling} at 1024³, timed in turns with the steps. Every number comes ` +
    "from a process of its own; on a CPU driver the GPU's memory is part of the host's. ViT-B's " +
    "weights are seeded, not trained.",
    ...(errors.length > 0 ? [errors.map((error) => `- failed: ${error}`).join("\n")] : []),
  ];
}

/** One adapter's chapter. */
export function chapter(name: string, { records, results }: AdapterResults): string {
  const { adapter } = records.at(-1)!.environment;
  const { kernels, models, host, memory, peerProducts, peerSteps, profiles = [] } = results;
  const failed = peerProducts?.failed.map(({ name, error }) => `- ${name} did not run: ${error}`);
  return [
    `## ${name}`,
    describeAdapter(adapter) + ".",
    runsTable(records),
    "### Figures to reach",
    figuresTable(results, adapter.type),
    ...(models ? modelParts(models) : []),
    ...(kernels
      ? [
        "### Kernels",
        `![Roofline of ${name}](roofline_${adapterSlug(name)}.svg)`,
        kernelTable(kernels.kernels, kernels.library),
      ]
      : []),
    ...(host ? ["### Host", hostTable(host), HOST_NOTE] : []),
    ...profiles.flatMap((profile) => [
      `### Time by kernel: ${profileTitle(profile)}`,
      profileTable(longOnes(profile)),
      ...(kernels ? [productFloor(profile, bestProduct(kernels.kernels))] : []),
    ]),
    ...(memory ? ["### Memory", memoryTable(memory)] : []),
    ...(peerProducts
      ? ["### Matrix products of other libraries", peerProductTable(peerProducts)]
      : []),
    ...(failed?.length ? [failed.join("\n")] : []),
    ...(peerSteps ? ["### PyTorch's training steps", peerStepTable(peerSteps)] : []),
  ].join("\n\n");
}

const HOST_NOTE =
  "The dispatches of a step are those of any side; at side 64 a CPU driver leaves the cores to the " +
  "host. What Deno and wgpu take within their calls is the floor, which no code of ours can go below. " +
  "On a GPU all operands stay in buffers.";

async function readRecords(folder: string): Promise<BenchRecord[]> {
  const records: BenchRecord[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) {
      if (!name.endsWith(".json")) continue;
      records.push(JSON.parse(await Deno.readTextFile(join(folder, name))) as BenchRecord);
    }
  } catch (error) {
    throw new InputError(`${folder} cannot be read (${(error as Error).message}): name a folder`);
  }
  if (records.length === 0) {
    throw new InputError(`${folder} holds no record: make one with deno task bench --json`);
  }
  return records;
}

if (import.meta.main) {
  await runMain(async () => {
    const options = parseArgs(Deno.args, { boolean: ["help"], unknown: readFolder });
    if (options.help) return console.log(usage);
    const folder = String(options._[0] ?? join("results", "bench"));
    const adapters = combine(await readRecords(folder));
    const chapters: string[] = [];
    for (const [name, results] of adapters) {
      chapters.push(chapter(name, results));
      const svg = picture(name, results.results);
      if (svg === null) continue;
      const path = join(folder, `roofline_${adapterSlug(name)}`);
      await writeFileAtomic(`${path}.svg`, svg);
      await writeFileAtomic(`${path}.png`, await rasterize(svg));
    }
    const head =
      "# Benchmarks\n\nWritten by `deno task bench:report` from the records beside it. What the products' " +
      "machine code showed, and what was tried: [where_time_goes.md](where_time_goes.md).";
    await writeFileAtomic(join(folder, "README.md"), [head, ...chapters].join("\n\n") + "\n");
    console.log(join(folder, "README.md"));
  });
}

/** Takes a folder, refuses options. */
function readFolder(argument: string): boolean {
  if (argument.startsWith("-")) unknownOption(argument);
  return true;
}
