import { answersOf } from "../child.ts";
import { part } from "../part.ts";
import type { StepAnswer, StepTask } from "../step_process.ts";
import { STEP_HEADER, stepRows } from "./steps.ts";

/** The same step on Deno's WebGPU and on Chromium's. */
export const dawn = part<StepAnswer[]>({
  name: "dawn",
  title: "wgpu beside Dawn",
  needs: { GPU: 25, CPU: 90 },
  most: 90,
  run: async ({ signal, seconds, keep }) => {
    const answers: StepAnswer[] = [];
    for (const webgpu of ["dawn", "deno"] as const) {
      const task: StepTask = {
        model: "mobile_sam",
        side: 512,
        webgpu,
        python: null,
        seconds: seconds / 2,
      };
      answers.push(
        ...await answersOf<StepAnswer>("tests/gpu_report/step_process.ts", [JSON.stringify(task)], {
          signal,
        }),
      );
      keep([...answers]);
    }
    return answers.toReversed();
  },
  headline: ([first, second]) =>
    second
      ? `On Dawn a step takes ${
        (second.milliseconds / first.milliseconds).toFixed(2)
      } × wgpu's time.`
      : null,
  blocks: (answers) => [{
    kind: "table",
    caption:
      "The LoRA-16 step of MobileSAM at 512, by the implementation of WebGPU; each in a process of its own.",
    header: STEP_HEADER,
    rows: stepRows(answers),
  }],
});
