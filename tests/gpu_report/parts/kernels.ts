import type { KernelResult } from "../../bench/kernels.ts";
import { picture } from "../../bench/report.ts";
import { perSecond } from "../../bench/tables.ts";
import { join } from "node:path";
import { ROOT, runDeno } from "../child.ts";
import { figure } from "../figure.ts";
import { part } from "../part.ts";

/** Speeds of kernels, and the device's name for the picture. */
interface Measured {
  readonly adapter: string;
  readonly library: string | null;
  readonly kernels: readonly KernelResult[];
}

/** Speeds of the fastest product, of the ceiling's library and of memory. */
function roofs({ kernels }: Measured) {
  const products = kernels.filter(({ sort }) => sort === "product");
  const best = Math.max(...products.map((one) => perSecond(one.flops, one.milliseconds)));
  const library = Math.max(
    0,
    ...products.map(({ flops, ceilingMilliseconds }) =>
      ceilingMilliseconds ? perSecond(flops, ceilingMilliseconds) : 0
    ),
  );
  const copy = kernels.find(({ name }) => name.startsWith("copy"))!;
  return { best, library, bytes: perSecond(copy.bytes, copy.milliseconds) };
}

/** Kernels against the device's roofline. */
export const kernels = part<Measured>({
  name: "kernels",
  title: "Kernels under the roofline",
  needs: { GPU: 25, CPU: 75 },
  most: 120,
  run: async ({ adapter, python, signal }) => {
    const json = await Deno.makeTempFile();
    try {
      const { success, reason } = await runDeno([
        "run",
        "-A",
        join(ROOT, "tests/bench/main.ts"),
        "--only=kernels",
        "--rounds=2",
        `--json=${json}`,
        ...python ? [`--python=${python}`] : [],
      ], { signal });
      const text = await Deno.readTextFile(json);
      if (text === "") throw new Error(success || signal.aborted ? "its time was over" : reason);
      const { library, kernels } = JSON.parse(text).results.kernels;
      return { adapter: adapter.name, library, kernels };
    } finally {
      await Deno.remove(json);
    }
  },
  headline: (result) => {
    const { best, library, bytes } = roofs(result);
    return `The fastest matrix product reaches ${figure(best)} GFLOP/s${
      library ? `, ${(100 * best / library).toFixed(0)} % of ${result.library}'s best` : ""
    }; a copy moves ${figure(bytes)} GB/s.`;
  },
  blocks: (result) => {
    const { adapter, library, kernels } = result;
    const svg = picture(adapter, { kernels: { library, kernels: [...kernels] } });
    return [
      {
        kind: "figure",
        name: "roofline",
        alt: `Roofline of ${adapter}: speed of each kernel against its operations a byte`,
        caption:
          "Speed of each kernel against its operations a byte, under the ceilings of computing and memory.",
        draw: () => svg!,
      },
      {
        kind: "details",
        summary: "Every kernel",
        blocks: [{
          kind: "table",
          caption: `Times are medians; ${
            library
              ? `${library} computes the same products`
              : "no library was here to compare products with"
          }.`,
          header: [
            "Kernel",
            "ms",
            "GFLOP/s",
            "GB/s",
            ...library ? ["Library, ms", "Ours / library"] : [],
          ],
          rows: kernels.map(({ name, milliseconds, flops, bytes, ceilingMilliseconds: other }) => [
            name,
            figure(milliseconds),
            flops ? figure(perSecond(flops, milliseconds)) : "–",
            figure(perSecond(bytes, milliseconds)),
            ...library ? other ? [figure(other), figure(milliseconds / other)] : ["–", "–"] : [],
          ]),
        }],
      },
    ];
  },
});
