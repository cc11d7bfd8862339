import { type Model, MODEL_NAMES } from "../../bench/training.ts";
import { answersOf } from "../child.ts";
import { figure } from "../figure.ts";
import { part } from "../part.ts";
import type { StepAnswer, StepTask } from "../step_process.ts";

/** Names of the contestants in tables. */
const CONTESTANTS: Readonly<Record<string, string>> = {
  deno: "samlora on wgpu",
  dawn: "samlora on Dawn",
  fp32: "PyTorch, fp32",
  tf32: "PyTorch, TF32",
  amp: "PyTorch, AMP",
};

/** Contestants of a table, each beside the first. */
export function stepRows(answers: readonly StepAnswer[]): string[][] {
  const first = answers[0].milliseconds;
  return answers.map((
    { contestant, milliseconds, firstSeconds, gflops, peakGpuBytes, losses, error },
  ) => [
    CONTESTANTS[contestant],
    ...error ? [error, "–", "–", "–", "–", "–"] : [
      figure(milliseconds),
      (milliseconds / first).toFixed(2),
      gflops ? figure(gflops) : "–",
      firstSeconds?.toFixed(1) ?? "–",
      peakGpuBytes ? (peakGpuBytes / 2 ** 20).toFixed(0) : "–",
      losses.slice(0, 2).map((loss) => loss.toPrecision(6)).join(", "),
    ],
  ]);
}

/** Columns of {@linkcode stepRows}. */
export const STEP_HEADER = [
  "Contestant",
  "Step, ms",
  "Relative",
  "GFLOP/s",
  "First step, s",
  "GPU memory, MiB",
  "First losses",
];

/** Training steps of a model at a side, beside PyTorch's where a Python is given. */
export const steps = (model: Model, side: number, needs: { GPU: number; CPU: number }) =>
  part<StepAnswer[]>({
    name: `step_${model}_${side}`,
    title: `A training step of ${MODEL_NAMES[model]} at ${side}`,
    needs,
    most: 150,
    run: async ({ python, signal, seconds, keep }) => {
      const task: StepTask = { model, side, webgpu: "deno", python, seconds };
      const answers = await answersOf<StepAnswer>(
        "tests/gpu_report/step_process.ts",
        [JSON.stringify(task)],
        { signal, onAnswer: (answers) => keep([...answers]) },
      );
      if (answers.length === 0) throw new Error("no step came to its end in time");
      return answers;
    },
    headline: ([{ milliseconds }, ...others]) => {
      const beside = others.filter(({ error }) => !error).map((
        { contestant, milliseconds: other },
      ) => `${(milliseconds / other).toFixed(2)} × ${CONTESTANTS[contestant]}`);
      return `LoRA-16 step of ${MODEL_NAMES[model]} at ${side}: ${figure(milliseconds)} ms${
        beside.length > 0 ? ` (${beside.join(", ")})` : ""
      }.`;
    },
    blocks: (answers) => [{
      kind: "table",
      caption: `LoRA-16 on every qkv of the encoder, f32, ${answers[0].batch} image${
        answers[0].batch > 1 ? "s" : ""
      } a step${model === "vit_b" ? ", seeded weights" : ""}: ${
        answers[0].dispatches
      } dispatches, ${
        (answers[0].flops / 1e9).toFixed(0)
      } GFLOP. PyTorch is eager, with the same weights, adapters and batch. Medians.`,
      header: STEP_HEADER,
      rows: stepRows(answers),
    }],
  });
