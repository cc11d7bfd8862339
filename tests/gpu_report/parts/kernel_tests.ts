import { basename } from "node:path";
import { answersOf } from "../child.ts";
import type { Outcome } from "../../kernels.ts";
import { part } from "../part.ts";

/** The engine's tests, in every kernel of a family. */
export const kernelTests = (family: "cpu" | "gpu") =>
  part<Outcome>({
    name: `kernel_tests_${family}`,
    title: `Tests of the kernels for ${family === "gpu" ? "GPUs" : "CPUs"}`,
    needs: { GPU: 40, CPU: 120 },
    run: async ({ signal }) => {
      const json = await Deno.makeTempFile();
      try {
        await answersOf(
          "tests/kernels.ts",
          ["--short", "--family", family, "--json", json],
          { signal },
        ).catch(() => {}); // failed tests are the result
        const text = await Deno.readTextFile(json);
        if (text === "") throw new Error("the tests did not come to their end");
        return JSON.parse(text);
      } finally {
        await Deno.remove(json);
      }
    },
    headline: ({ passed, failed }) =>
      `Of the tests of the kernels for ${
        family === "gpu" ? "GPUs" : "CPUs"
      } ${passed} passed and ${failed} failed.`,
    blocks: ({ implementation, passed, failed, largestError, at, notRun, seconds }) => [{
      kind: "table",
      caption: `${implementation}. The largest error is in units of its comparison's tolerance.`,
      header: [
        "Kernels for",
        "Passed",
        "Failed",
        "Largest error",
        "of",
        "WGSL files not run",
        "Seconds",
      ],
      rows: [[
        family === "gpu" ? "GPUs" : "CPUs",
        String(passed),
        String(failed),
        largestError.toFixed(2),
        at,
        notRun.map((name) => basename(name)).join(", ") || "none",
        seconds.toFixed(0),
      ]],
    }],
  });
