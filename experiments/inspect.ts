// ./run inspect DIR: what a data set holds, and what would be left out of a study.
import { inspectDataset, type Inspection } from "../lib/data/inspect.ts";
import type { Axis } from "../lib/data/plane.ts";
import { LABEL_SCHEMES } from "../lib/data/target.ts";
import { oneLine } from "../lib/errors.ts";
import { plural } from "../lib/report/format.ts";
import { runCommand } from "../lib/study/main.ts";
import { Progress } from "../lib/study/progress.ts";
import { commands } from "./commands.ts";

/** Most lines of a kind that are printed; `--json` has them all. */
const MOST_LINES = 20;

await runCommand(commands.inspect, async ({ argument, values }) => {
  let progress: Progress | null = null;
  const inspection = await inspectDataset(argument, {
    ...values,
    axis: values.axis as Axis,
    onProgress: (done, total) => {
      if (values.json) return;
      progress ??= new Progress({ label: "Reading", total, unit: "cases" });
      progress.update({ done });
      if (done === total) progress.finish();
    },
  });
  if (values.json) console.log(JSON.stringify(inspection, null, 2));
  else for (const line of textOf(inspection, values)) console.log(oneLine(line));
});

/** A survey as lines of text. */
function textOf(
  { name, layout, modality, cases, grouping, scheme, labels, spacings, slices, warnings, leftOut }:
    Inspection,
  { axis, minTumourVoxels }: { axis: number; minTumourVoxels: number },
): string[] {
  const list = Object.entries(labels).map(([label, voxels]) => `${label}: ${voxels}`);
  const meaning = scheme === null ? "" : ` (${scheme}, ${LABEL_SCHEMES[scheme].about})`;
  const sizes = spacings.map(({ spacing, cases }) =>
    `${spacing.join(" x ")} mm in ${plural(cases, "case")}`
  );
  const { tumour, little, empty } = slices;
  return [
    `${name}: ${layout === null ? "scans" : `${layout} layout`}, ${modality}; ${grouping}`,
    `Read: ${plural(cases.length, "case")}, of which ${
      cases.filter(({ seg }) => seg !== null).length
    } with segmentation`,
    `Spacing: ${few(sizes).join("; ") || "none"}`,
    `Labels and their voxels: ${list.join(", ") || "none"}${meaning}`,
    `Slices along axis ${axis}: ${tumour} with ${minTumourVoxels} tumour pixels or more, ${little} ` +
    `with fewer, ${empty} without`,
    ...few(warnings),
    ...few(leftOut.map(({ name, reason }) => `Left out: ${name} ${reason}`)),
  ];
}

/** The first lines, and the number of others. */
function few(lines: readonly string[]): string[] {
  if (lines.length <= MOST_LINES) return [...lines];
  return [
    ...lines.slice(0, MOST_LINES),
    `and ${lines.length - MOST_LINES} more (--json lists them)`,
  ];
}
