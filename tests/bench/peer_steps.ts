import { join } from "node:path";
import type { Gpu } from "../../lib/gpu/gpu.ts";
import type { HostState } from "../../lib/nn/host_state.ts";
import { threads } from "./ceiling.ts";
import { interleaved, type Timed } from "./measure.ts";
import { Peer } from "./peers/process.ts";
import { batchOf, type Kind, type Model, seededVitB, Training } from "./training.ts";
import { writeTensors } from "../formats/tensors_file.ts";
import { mobileSamState } from "../sam/pretrained.ts";

/** A step to be compared. */
export interface StepCase {
  readonly model: Model;
  readonly side: number;
  readonly batch: number;
}

/** Comparisons by default, and with `--long`. */
export const STEP_CASES: readonly (StepCase & { readonly long: boolean })[] = ([
  ["mobile_sam", 256, false],
  ["mobile_sam", 512, true],
  ["vit_b", 256, true],
  ["vit_b", 512, true],
] as const).map(([model, side, long]) => ({ model, side, batch: batchOf(model, side), long }));

/** A training step, ours and PyTorch's; times in milliseconds, medians. */
export interface PeerStep extends StepCase {
  /** Part that is trained. */
  readonly kind: Kind;
  /** Version and threads. */
  readonly torch: string;
  readonly milliseconds: {
    /** Ours in full, and with the frozen prefix from the cache; null where it was not timed. */
    readonly step: number | null;
    readonly cachedStep: number | null;
    /** PyTorch's in full. */
    readonly torch: number;
  };
  /** The largest relative difference of our losses from PyTorch's over the steps of either. */
  readonly lossDifference: number;
  /** Most bytes resident in PyTorch's process. */
  readonly torchPeakHostBytes: number;
  /** Most bytes that PyTorch held on a GPU. */
  readonly torchPeakGpuBytes: number;
}

/** Answer of the script about some steps. */
interface TorchAnswer {
  readonly milliseconds: number;
  readonly losses: readonly number[];
  readonly peakHostBytes: number;
  readonly peakGpuBytes: number;
}

/** Times training steps in turns with PyTorch's, with the same weights, batch and losses. */
export async function benchPeerSteps(
  gpu: Gpu,
  cases: readonly StepCase[],
  options: { rounds: number; python: string },
): Promise<PeerStep[]> {
  const folder = await Deno.makeTempDir();
  const inputs = join(folder, "inputs.safetensors");
  try {
    const results: PeerStep[] = [];
    for (const one of cases) {
      const weights = one.model === "vit_b" ? seededVitB(gpu) : await mobileSamState();
      // The prefix before the first adapter of ViT-B is the patches alone: nothing to cache.
      const kinds: Kind[] = one.model === "vit_b" ? ["lora"] : ["lora", "lora_late"];
      for (const kind of kinds) {
        results.push(await benchStep(gpu, { ...one, kind }, { ...options, weights, inputs }));
        gpu.trim();
      }
    }
    return results;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function benchStep(
  gpu: Gpu,
  one: StepCase & { kind: Kind },
  options: { rounds: number; python: string; weights: HostState; inputs: string },
): Promise<PeerStep> {
  const { model, side, batch, kind } = one;
  const { rounds, python, weights, inputs } = options;
  console.error(`${model} ${side}, batch ${batch}, ${kind}`);
  using trainings = new DisposableStack();
  const losses: Record<string, number[]> = {};
  const ours = async (name: string, cached: boolean): Promise<[string, Timed]> => {
    const training = trainings.use(await Training.open(gpu, { ...one, weights }));
    if (Object.keys(losses).length === 0) await writeInputs(inputs, weights, training);
    losses[name] = [];
    const steps: Timed = async (repeats) => {
      const start = performance.now();
      const made = Array.from({ length: repeats }, () => training.step({ cached }));
      await gpu.finish();
      const milliseconds = performance.now() - start;
      for (const loss of made) {
        losses[name].push(await loss.item());
        loss.dispose();
      }
      return milliseconds;
    };
    return [name, steps];
  };
  const contestants: Record<string, Timed> = Object.fromEntries([
    ...(kind === "lora" ? [await ours("step", false)] : []),
    ...(model === "mobile_sam" ? [await ours("cachedStep", true)] : []),
  ]);
  using peer = new Peer(python, [
    join(import.meta.dirname!, "torch_step.py"),
    model,
    inputs,
    gpu.info.type === "GPU" ? "cuda" : "cpu",
    String(threads()),
  ], { threaded: true });
  const { torch } = await peer.read<{ torch: string }>();
  losses.torch = [];
  let peaks = { torchPeakHostBytes: 0, torchPeakGpuBytes: 0 };
  contestants.torch = async (repeats) => {
    const answer = await peer.ask<TorchAnswer>(String(repeats));
    losses.torch.push(...answer.losses);
    peaks = { torchPeakHostBytes: answer.peakHostBytes, torchPeakGpuBytes: answer.peakGpuBytes };
    return answer.milliseconds;
  };
  const times = await interleaved(contestants, { rounds });
  const { step = null, cachedStep = null } = times as Record<string, number | undefined>;
  return {
    ...one,
    torch: `PyTorch ${torch}, ${threads()} threads`,
    milliseconds: { step, cachedStep, torch: times.torch },
    lossDifference: largestDifference(losses),
    ...peaks,
  };
}

/** Writes weights, adapters and batch for the script. */
export async function writeInputs(
  path: string,
  weights: HostState,
  training: Training,
): Promise<void> {
  const { side, boxes } = training;
  const state = new Map(weights);
  for (const [layer, { lora_A, lora_B }] of training.adapters) {
    for (const [part, { weight }] of [["A", lora_A], ["B", lora_B]] as const) {
      state.set(`${layer}.lora_${part}`, { shape: [...weight.shape], data: await weight.data() });
    }
  }
  const batch = boxes.length;
  state.set("bench.pixels", { shape: [batch, side, side, 3], data: training.pixels });
  state.set("bench.masks", { shape: [batch, side, side], data: training.masks });
  state.set("bench.boxes", { shape: [batch, 4], data: Float32Array.from(boxes.flat()) });
  await writeTensors(path, state);
}

/** The largest relative difference from PyTorch's losses, step by step. */
function largestDifference({ torch, ...ours }: Record<string, number[]>): number {
  const differences = Object.values(ours).flatMap((losses) =>
    losses.slice(0, torch.length).map((loss, i) => Math.abs(loss / torch[i] - 1))
  );
  return Math.max(...differences);
}
