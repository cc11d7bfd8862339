/**
 * Frozen prefix of a study: the activations in front of the first layer that any row adapts, computed once by a
 * task that the others wait for. Without it each task computes them again.
 *
 * @module
 */
import { join } from "node:path";
import { flip } from "../data/augment.ts";
import type { SliceRef } from "../data/slices.ts";
import { ActivationCache } from "../evaluate/activation_cache.ts";
import { ActivationWriter, StoredActivations } from "../evaluate/stored_activations.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { configOf } from "./experiment.ts";
import { StudyFolder } from "./folder.ts";
import { Interrupted, type Interruption } from "./interruption.ts";
import { MANIFEST, Manifest } from "./manifest.ts";
import { buildModel, sliceModel } from "./model.ts";
import { partsOf, type Plan, tasksOf } from "./plan.ts";
import { Progress } from "./progress.ts";
import { machineOf } from "./resume.ts";
import { sliceOptions } from "./study_data.ts";
import { openStudyData, type StudyData } from "./study_data.ts";
import type { Config } from "./schema.ts";

/** Folder of the activations within a study's; its task has no number but 0. */
export const PREFIX = "prefix";

/** File of the activations that is written last. */
const INDEX = join(PREFIX, "index.json");

/** True if the study has tasks that share a prefix: at least two trainings, and room on disk. */
export function sharesPrefix(plan: Plan): boolean {
  const adapted = tasksOf(plan).filter((task) => isShared(plan, task.experiment));
  return plan.config.cacheDisk > 0 && adapted.length > 1;
}

/** True for a row with adapters in front of which the study's own preparation stands. */
function isShared(
  { config }: Plan,
  experiment: Plan["experiments"][number] | ReturnType<typeof tasksOf>[number]["experiment"],
): boolean {
  const own = configOf(experiment as Parameters<typeof configOf>[0], config as Config);
  return experiment.kind === "lora" &&
    JSON.stringify(sliceOptions(own)) === JSON.stringify(sliceOptions(config as Config));
}

/** True if the prefix of a study is there. */
export async function hasPrefix(path: string): Promise<boolean> {
  return await Deno.stat(join(path, INDEX)).then(() => true, () => false);
}

/** Opens the prefix of a study; null if it has none, or another kind of machine has computed it. */
export async function openPrefix(path: string, gpu: Gpu): Promise<StoredActivations | null> {
  if (!await hasPrefix(path)) return null;
  const manifest = await Manifest.open(path, join(PREFIX, MANIFEST));
  await manifest.require((file) => file === INDEX); // each activation has a checksum in it
  return await StoredActivations.open(join(path, PREFIX), machineOf(gpu));
}

/** An image of a slice: itself, or mirrored as training mirrors it. */
interface WantedImage {
  readonly ref: SliceRef;
  readonly isMirrored: boolean;
}

/** Images that the study's trainings pass over, those that are surely needed first. */
async function imagesOf(
  plan: Plan,
  data: StudyData,
  log: (line: string) => void,
): Promise<WantedImage[]> {
  const plain = new Map<string, SliceRef>();
  const trained = new Map<string, SliceRef>();
  for (const { config } of partsOf(plan)) {
    const { parts, healthy } = await openStudyData(config, log, data);
    for (const kind of [parts, healthy]) {
      for (const ref of [...kind.train, ...kind.validation, ...kind.test]) plain.set(ref.id, ref);
      for (const ref of kind.train) trained.set(ref.id, ref);
    }
  }
  const { flip, augment, augmentVariants } = plan.config;
  const isMirrored = flip > 0 && augmentVariants === 0 && Object.keys(augment).length === 0;
  return [
    ...[...plain.values()].map((ref) => ({ ref, isMirrored: false })),
    ...(isMirrored ? [...trained.values()].map((ref) => ({ ref, isMirrored })) : []),
  ];
}

/**
 * Computes the prefix of a study, unless it is there.
 *
 * @throws {InputError} if another process does, or the disk is full.
 */
export async function computePrefix(
  plan: Plan,
  { path, gpu, data, interruption, log }: {
    path: string;
    gpu: Gpu;
    data: StudyData;
    interruption: Interruption;
    log: (line: string) => void;
  },
): Promise<void> {
  using folder = await StudyFolder.openTask(path, PREFIX, { seconds: plan.leaseSeconds });
  try {
    await folder.clear(); // a part of it is of no use
    folder.computesOn(gpu.info.name);
    const images = await imagesOf(plan, data, () => {});
    await writePrefix(plan, { folder, gpu, data, interruption, images });
    folder.end("finished");
    log(`${images.length} images are prepared for the tasks of ${path}.`);
  } catch (error) {
    const isStopped = error instanceof Interrupted;
    folder.end(
      isStopped ? "stopped" : "failed",
      isStopped ? null : String((error as Error).message),
    );
    throw error;
  }
}

async function writePrefix(
  plan: Plan,
  { folder, gpu, data, interruption, images }: {
    folder: StudyFolder;
    gpu: Gpu;
    data: StudyData;
    interruption: Interruption;
    images: readonly WantedImage[];
  },
): Promise<void> {
  const experiment = tasksOf(plan).find((task) => isShared(plan, task.experiment))!.experiment;
  const config = configOf(experiment, plan.config);
  using cache = new ActivationCache({ budget: 0 });
  const sam = await buildModel(gpu, { experiment, config });
  try {
    using model = sliceModel(sam, config, cache);
    const [content] = JSON.parse(cache.content);
    const writer = new ActivationWriter((name, bytes) => folder.write(join(PREFIX, name), bytes));
    const room = config.cacheDisk * 2 ** 20;
    const progress = new Progress({ label: "Frozen prefix", total: images.length, unit: "images" });
    for (let at = 0; at < images.length && writer.bytes < room; at += config.batchSize) {
      interruption.poll();
      const some = await Promise.all(
        images.slice(at, at + config.batchSize).map(async ({ ref, isMirrored }) => {
          const slice = await data.slices.read(ref);
          return isMirrored
            ? { slice: flip(slice, "horizontal"), variant: "/horizontal" }
            : { slice, variant: "" };
        }),
      );
      for (const { key, content } of await model.prefixOf(some)) await writer.add(key, content);
      progress.update({ done: at + some.length });
    }
    progress.finish();
    const { cut, shape } = model.prefix;
    await writer.finish({ content, cut, shape: [...shape], machine: machineOf(gpu) });
  } finally {
    sam.dispose();
  }
}
