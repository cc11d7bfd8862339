import { join } from "node:path";
import { Gpu } from "../../lib/gpu/gpu.ts";
import type { Measurement, Task } from "./model_process.ts";
import { Peer } from "./peers/process.ts";
import { batchOf, type Kind, type Model, MODEL_NAMES, seededVitB } from "./training.ts";
import { writeTensors } from "../formats/tensors_file.ts";

/** Costs of a model at one side. */
export interface ModelResult {
  readonly model: Model;
  /** Side of the input. */
  readonly side: number;
  /** Images of a step. */
  readonly batch: number;
  /** "pretrained" or "seeded": numbers that look random take as long. */
  readonly weights: "pretrained" | "seeded";
  /** Seconds from the start of a process to the loss of its first LoRA step, with empty caches. */
  readonly coldSeconds: number | null;
  /** The same with the caches that the first process filled. */
  readonly warmSeconds: number | null;
  /** The forward pass up to the loss, without adapters and with them. */
  readonly forward: Measurement | null;
  /** A step of LoRA-16 on every qkv. */
  readonly step: Measurement | null;
  /** The same with the frozen prefix from the cache. */
  readonly cachedStep: Measurement | null;
  /** A step of LoRA-16 on the last blocks' qkv, with the frozen prefix from the cache. */
  readonly lateStep: Measurement | null;
  /** Measurements that failed, with the reason. */
  readonly errors: readonly string[];
}

/** A model at a side. */
export interface ModelCase {
  readonly model: Model;
  readonly side: number;
}

/** Everything that can be measured, from fast to slow; the last are for `--long`. */
export const MODEL_CASES: readonly (ModelCase & { readonly long: boolean })[] = [
  { model: "mobile_sam", side: 256, long: false },
  { model: "mobile_sam", side: 512, long: false },
  { model: "vit_b", side: 256, long: false },
  { model: "mobile_sam", side: 1024, long: true },
  { model: "vit_b", side: 512, long: true },
  { model: "vit_b", side: 1024, long: true },
];

/** Seconds of a cold start beyond which a warm one, and other steps than LoRA's, are left out. */
const LONG_START = 60;

/** Timed forward passes of each at least: their differences are a few percent. */
const FORWARD_ROUNDS = 7;

/** Options of the benchmarks of models. */
export interface ModelOptions {
  /** Timed runs of each. */
  readonly rounds: number;
  /** A Python for the ceiling. */
  readonly python?: string;
}

/** Measures models one after the other, each number in a process of its own. */
export async function benchModels(
  cases: readonly ModelCase[],
  options: ModelOptions,
): Promise<ModelResult[]> {
  const folder = await Deno.makeTempDir();
  try {
    const weights = cases.some(({ model }) => model === "vit_b")
      ? await writeVitB(join(folder, "vit_b.safetensors"))
      : null;
    const results: ModelResult[] = [];
    for (const [i, one] of cases.entries()) {
      const caches = join(folder, `caches_${i}`);
      await Deno.mkdir(caches);
      results.push(await benchModel(one, { ...options, weights, caches }));
    }
    return results;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function writeVitB(path: string): Promise<string> {
  using gpu = await Gpu.open();
  await writeTensors(path, new Map(seededVitB(gpu)));
  return path;
}

/** Measures one model at one side, beginning with empty caches. */
async function benchModel(
  { model, side }: ModelCase,
  options: ModelOptions & { weights: string | null; caches: string },
): Promise<ModelResult> {
  const { rounds, python = null, weights, caches } = options;
  const batch = batchOf(model, side);
  const base: Task = {
    model,
    side,
    batch,
    pass: "step",
    kind: "lora",
    cached: false,
    compare: true,
    rounds,
    weights: model === "vit_b" ? weights : null,
    python,
  };
  const errors: string[] = [];
  const attempt = async (label: string, changes: Partial<Task>): Promise<Partial<Answers>> => {
    console.error(`${MODEL_NAMES[model]} ${side}, batch ${batch}: ${label}`);
    try {
      return await inProcess({ ...base, ...changes }, caches);
    } catch (error) {
      errors.push(`${label}: ${(error as Error).message}`);
      return {};
    }
  };
  const step = await attempt("LoRA step", {});
  const slow = (step.seconds ?? Infinity) > LONG_START;
  const warm: Partial<Answers> = slow ? {} : await attempt("warm start", { rounds: 0 });
  const cached = async (kind: Kind, label: string): Promise<Partial<Answers>> =>
    slow ? {} : await attempt(label, { kind, cached: true });
  // The prefix before the first adapter of ViT-B is the patches alone: nothing to cache.
  const cachedStep: Partial<Answers> = model === "vit_b"
    ? {}
    : await cached("lora", "LoRA step, prefix cached");
  const lateStep = await cached("lora_late", "LoRA step of the last blocks, prefix cached");
  const forward = await attempt("forward", {
    pass: "forward",
    kind: "frozen",
    compare: !slow,
    rounds: Math.max(FORWARD_ROUNDS, rounds),
  });
  return {
    model,
    side,
    batch,
    weights: model === "vit_b" ? "seeded" : "pretrained",
    coldSeconds: step.seconds ?? null,
    warmSeconds: warm.seconds ?? null,
    forward: forward.measurement ?? null,
    step: step.measurement ?? null,
    cachedStep: cachedStep.measurement ?? null,
    lateStep: lateStep.measurement ?? null,
    errors,
  };
}

/** Answer of a process. */
interface Answers {
  /** From its start to its first loss, if it is one of steps. */
  readonly seconds: number;
  /** Absent where the first loss was all that was asked for. */
  readonly measurement: Measurement;
}

/** Runs a task in a process of its own, with the driver's cache of shaders in a folder. */
async function inProcess(task: Task, caches: string): Promise<Partial<Answers>> {
  const program = join(import.meta.dirname!, "model_process.ts");
  const start = performance.now();
  using peer = new Peer(Deno.execPath(), ["run", "-A", program, JSON.stringify(task)], {
    env: { MESA_SHADER_CACHE_DIR: caches },
  });
  if (task.pass === "forward") return { measurement: await peer.read<Measurement>() };
  await peer.read();
  const seconds = (performance.now() - start) / 1000;
  if (task.rounds === 0) return { seconds };
  return { seconds, measurement: await peer.read<Measurement>() };
}
