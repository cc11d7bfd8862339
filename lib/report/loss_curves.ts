import * as Plot from "@observablehq/plot";
import type { EpochMetrics } from "../train/training.ts";
import type { Palette, SeriesStyle } from "./palette.ts";
import { legend, type LegendEntry, panelRow } from "./panels.ts";
import { stack } from "./svg.ts";

/** A training's name, as it heads its column, and its epochs. */
export interface Curve {
  /** For example "LoRA-16". */
  readonly name: string;
  /** In the order of the epochs; a figure that was not measured is NaN and leaves a gap. */
  readonly metrics: readonly EpochMetrics[];
  /** Epoch after which patience had run out, whether training ended there or went on. */
  readonly earlyStoppingEpoch?: number | null;
}

/** Curves beside each other. */
export const CURVES_IN_A_ROW = 4;

/** Most epochs whose points are marked. */
const MARKED_EPOCHS = 20;

/** The epoch of the highest validation Dice, the first of equals: the one whose weights count. */
export function bestEpoch(metrics: readonly EpochMetrics[]): EpochMetrics | undefined {
  return metrics.reduce<EpochMetrics | undefined>(
    (best, epoch) =>
      best === undefined || epoch.validationDice > best.validationDice ? epoch : best,
    undefined,
  );
}

/** The figures of a split: its loss and its Dice, and its line. */
interface Split {
  readonly name: string;
  readonly loss: "trainLoss" | "validationLoss";
  readonly dice: "trainDice" | "validationDice";
  readonly style: SeriesStyle;
}

function splitsOf({ series }: Palette): readonly [training: Split, validation: Split] {
  const style = { symbol: "circle", filled: true } as const;
  return [
    {
      name: "training",
      loss: "trainLoss",
      dice: "trainDice",
      style: { ...style, colour: series[1] },
    },
    {
      name: "validation",
      loss: "validationLoss",
      dice: "validationDice",
      style: { ...style, colour: series[2], dash: "5 3", filled: false },
    },
  ];
}

/**
 * Loss (above) and Dice (below) against the epoch, training and validation, one column a run on
 * shared axes; a dotted vertical line marks each run's best epoch by validation Dice, a dashed one
 * where early stopping ended it or would have. Readable in black and white.
 *
 * @param runs Runs without metrics (a model that was not trained) are left out.
 * @throws {RangeError} if no run has metrics.
 */
export function lossCurves(runs: readonly Curve[], palette: Palette): string {
  const trained = runs.filter((run) => run.metrics.length > 0);
  if (trained.length === 0) throw new RangeError("no run has metrics to draw");
  const splits = splitsOf(palette);
  const epochs = trained.flatMap(({ metrics }) => metrics);
  const lastEpoch = Math.max(...epochs.map(({ epoch }) => epoch));
  const step = Math.ceil(lastEpoch / 5);
  const x = {
    domain: lastEpoch > 1 ? [1, lastEpoch] : [0.5, 1.5],
    ticks: Array.from({ length: Math.floor(lastEpoch / step) }, (_, i) => (i + 1) * step),
    tickFormat: String,
    inset: 10,
    label: "Epoch",
  };
  /** One panel of a run: the lines of both splits between its vertical rules. */
  const panel = (kind: "loss" | "dice", { metrics, name, earlyStoppingEpoch }: Curve) => {
    const values = epochs.flatMap((epoch) => splits.map((split) => epoch[split[kind]]))
      .filter(Number.isFinite);
    const best = bestEpoch(metrics)!;
    const rule = { x: "epoch", strokeDasharray: "1 3", stroke: palette.soft };
    const stop = typeof earlyStoppingEpoch === "number" ? [{ epoch: earlyStoppingEpoch }] : [];
    return {
      title: kind === "loss" ? name : undefined,
      x: { ...x, axis: kind === "loss" ? null : "bottom" } as const,
      y: {
        label: kind === "loss" ? "Loss" : "Dice",
        domain: [Math.min(...values), Math.max(...values)],
        nice: true,
        inset: 6,
        ticks: 5,
        grid: true,
      },
      marks: [
        Plot.ruleX([best], rule),
        Plot.ruleX(stop, {
          ...rule,
          stroke: palette.ink,
          strokeDasharray: "6 3",
          ariaLabel: () => "early stopping",
        }),
        ...splits.flatMap((split) => splitMarks(metrics, { y: split[kind], split, palette })),
        ...(kind === "dice" ? bestMarks(best, palette) : []),
      ],
    };
  };
  const rows = Array.from({ length: Math.ceil(trained.length / CURVES_IN_A_ROW) }, (_, row) => {
    const shown = trained.slice(row * CURVES_IN_A_ROW, (row + 1) * CURVES_IN_A_ROW);
    return (["loss", "dice"] as const).map((kind) =>
      panelRow(shown.map((run) => panel(kind, run)), {
        height: kind === "loss" ? 205 : 220,
        columns: CURVES_IN_A_ROW,
        palette,
      })
    );
  });
  const stops = trained.some(({ earlyStoppingEpoch }) => typeof earlyStoppingEpoch === "number");
  return stack([legend(entriesOf(palette, { stops }), palette), ...rows.flat()]);
}

function splitMarks(
  metrics: readonly EpochMetrics[],
  { y, split: { name, style }, palette }: {
    y: Split["loss"] | Split["dice"];
    split: Split;
    palette: Palette;
  },
): Plot.Markish[] {
  const at = { x: "epoch", y, stroke: style.colour };
  const marked = metrics.at(-1)!.epoch <= MARKED_EPOCHS ? metrics : [];
  return [
    Plot.line(metrics, {
      ...at,
      strokeWidth: 1.8,
      strokeDasharray: style.dash,
      ariaLabel: () => name,
    }),
    Plot.dot(marked, { ...at, r: 2.8, fill: style.filled ? style.colour : palette.ground }),
  ];
}

/** A diamond at the best epoch and its figures, where a Dice that rises leaves room. */
function bestMarks(best: EpochMetrics, palette: Palette): Plot.Markish[] {
  return [
    Plot.dot([best], {
      x: "epoch",
      y: "validationDice",
      r: 4.5,
      symbol: "diamond",
      stroke: palette.ink,
      fill: palette.series[2],
    }),
    Plot.text([best], {
      frameAnchor: "bottom-right",
      text: ({ epoch, validationDice }: EpochMetrics) =>
        `best ${validationDice.toFixed(3)}, epoch ${epoch}`,
      dx: -12,
      dy: -8,
      fill: palette.ink,
      stroke: palette.ground,
      strokeWidth: 4,
    }),
  ];
}

function entriesOf(palette: Palette, { stops }: { stops: boolean }): LegendEntry[] {
  const best = { colour: palette.series[2], symbol: "diamond", filled: true } as const;
  const stop = { colour: palette.ink, dash: "6 3", symbol: "circle", filled: true } as const;
  return [
    ...splitsOf(palette),
    { name: "best epoch by validation Dice", style: best, without: "line" },
    ...(stops ? [{ name: "early stopping", style: stop, without: "marker" } as const] : []),
  ];
}
