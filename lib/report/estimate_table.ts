import type { StudyEstimate } from "../study/dry_run.ts";
import { duration } from "../study/progress.ts";
import { absent, count, mebibytes, modelName, plural } from "./format.ts";
import { gridText } from "./table.ts";

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const most = (values: readonly number[]) => Math.max(...values);

/** The rows, and their sums. */
function rowsGrid(
  rows: StudyEstimate["rows"],
  { training, scoring }: { training: number; scoring: number },
): string {
  return gridText({
    header: [
      "Row",
      "Trainable parameters",
      "Trainings",
      "Steps",
      "Training",
      "Scoring",
      "Device memory (MiB)",
    ],
    rows: [
      ...rows.map((row) => [
        modelName(row.name),
        count(row.trainableParameters),
        row.steps > 0 ? count(row.trainings) : absent,
        row.steps > 0 ? count(row.steps) : absent,
        row.steps > 0 ? duration(row.trainSeconds) : absent,
        duration(row.scoreSeconds + (row.steps > 0 ? 0 : row.trainSeconds)),
        mebibytes(row.gpuBytes),
      ]),
      [
        "All",
        "",
        count(sum(rows.map(({ trainings }) => trainings))),
        count(sum(rows.map(({ steps }) => steps))),
        duration(training),
        duration(scoring),
        mebibytes(most(rows.map(({ gpuBytes }) => gpuBytes))),
      ],
    ],
  });
}

/** The estimate of a study as text: its data, a table of its rows, and the disk. */
export function estimateText(
  { name, size, parts, rows, trivialSeconds, sliceBytes }: StudyEstimate,
): string {
  const time = (seconds: number) => seconds > 0 ? `about ${duration(seconds)}` : absent;
  const [training, scoring] = [
    sum(rows.map(({ trainSeconds }) => trainSeconds)),
    sum(rows.map(({ scoreSeconds }) => scoreSeconds)) + trivialSeconds,
  ];
  const disk = [
    `slices ${mebibytes(sliceBytes)} (kept in the cache)`,
    `activations ${mebibytes(most(rows.map(({ activationBytes }) => activationBytes)))}`,
    `checkpoints ${mebibytes(most(rows.map(({ checkpointBytes }) => checkpointBytes)))}`,
    `results ${mebibytes(sum(rows.map(({ resultBytes }) => resultBytes)))}`,
  ];
  return [
    "",
    `${name}: ${plural(size.cases, "case")} of ${plural(size.patients, "patient")}, ${
      plural(size.slices, "slice")
    }`,
    ...parts.map(([part, sizes]) => {
      const shares = Object.entries(sizes).map(([share, { patients, slices }]) =>
        `${share} ${plural(patients, "patient")}, ${plural(slices, "slice")}`
      );
      return `${part && `${part}: `}${shares.join("; ")}`;
    }),
    "",
    rowsGrid(rows, { training, scoring }),
    "",
    `Time: ${time(training + scoring)}, by steps and slices that were timed here just now`,
    `Disk (MiB): ${disk.join(", ")}`,
  ].join("\n");
}

/** The same of a study that is not begun. */
export function dryRunText(estimate: StudyEstimate): string {
  return `${estimateText(estimate)}\nNothing was written but the cache.`;
}
