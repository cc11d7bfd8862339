/**
 * Model card of an adapter: its figures are those of a study's row, whose models were trained alike and tested on
 * patients that they had not seen; none is written by hand.
 *
 * @module
 */
import type { Controls } from "../evaluate/controls/score_controls.ts";
import { PRESENCE_SCORES } from "../evaluate/presence.ts";
import { observe } from "../evaluate/protocol_summary.ts";
import { HEADLINE_PROMPTS } from "../evaluate/scored_prompts.ts";
import { METRICS } from "../metrics/metrics.ts";
import { summarizeByPatient } from "../stats/bootstrap.ts";
import { mean, type Score } from "../stats/summary.ts";
import { poolRecords } from "../study/comparison.ts";
import { displayName } from "../study/experiment.ts";
import type { Study, StudyFiles, StudyModel } from "../study/read_study.ts";
import type { ScoreRecords, SliceRecord } from "../study/records.ts";
import type { Origin } from "../study/results.ts";
import { InputError } from "../errors.ts";
import {
  type CalibrationBin,
  calibrationError,
  iouCalibration,
  presenceCalibration,
} from "./calibration.ts";
import { controlsGrid, controlsNotes } from "./controls_table.ts";
import type { Block, Cell, Document, TableBlock } from "./document.ts";
import { type Failure, FAILURES } from "./failures.ts";
import { absent, intervalText, meanText, mebibytes, plural, promptName } from "./format.ts";
import { rasterize } from "./rasterize.ts";
import { type SheetGroup, sheetSvg } from "./slice_sheet.ts";
import { choiceSection } from "./study/choices.ts";
import { unpromptedSection } from "./study/scores.ts";
import { Subject, valueText } from "./study/subject.ts";

/** Everything that a card is made of. */
export interface CardSources {
  /** The adapter as users name it, the run that it is of, and the size of its file in bytes. */
  readonly adapter: { readonly name: string; readonly origin: Origin; readonly bytes: number };
  /** Study that tested models like it. */
  readonly study: Study;
  readonly files: StudyFiles;
  /** Name of a plane by the end of its cases' names; empty if they do not say it. */
  readonly planes: ReadonlyMap<string, string>;
  /** The worst slices, and pictures of them. */
  readonly failures: readonly Failure[];
  readonly pictures: readonly SheetGroup[];
  /** Controls of models like it, by the name of each. */
  readonly controls: readonly (readonly [name: string, controls: Controls])[];
}

/** Name of the row that tested models like an adapter. */
function rowName({ adapter: { origin }, files: { records }, study }: CardSources): string {
  const { name } = origin.experiment;
  if (records.some(({ row, trivial }) => !trivial && row === name)) return name;
  throw new InputError(
    `${study.folder} has no row ${name}, which the adapter is of: name the study that tested such models`,
  );
}

/** Score of the slices of a group under a prompt. */
function scoreOf(
  slices: readonly SliceRecord[],
  prompt: typeof HEADLINE_PROMPTS[number],
): Score | undefined {
  const observations = observe(slices, { prompt, metric: "dice" });
  if (observations.length === 0) return undefined;
  return summarizeByPatient(observations, { bounds: METRICS.dice.range });
}

function cell(score: Score | undefined): Cell {
  const interval = intervalText(score);
  return { text: meanText(score), ...(interval !== absent && { sub: interval }) };
}

/** Dice under every prompt of groups of slices, a row each. */
function groupTable(
  caption: string,
  groups: readonly (readonly [name: string, slices: readonly SliceRecord[]])[],
): TableBlock {
  return {
    kind: "table",
    caption,
    header: [
      "",
      "Patients",
      "Slices",
      ...HEADLINE_PROMPTS.map((prompt) => `${promptName(prompt)}, Dice %`),
    ],
    rows: groups.map(([name, slices]) => [
      name,
      String(new Set(slices.map(({ patient }) => patient)).size),
      String(slices.length),
      ...HEADLINE_PROMPTS.map((prompt) => cell(scoreOf(slices, prompt))),
    ]),
  };
}

const size = (slice: SliceRecord) => Object.values(slice.scores)[0]?.truth ?? 0;

/** All slices, thirds by tumour size, planes, and each patient. */
function scoreTables({ slices }: ScoreRecords, { planes, study }: CardSources): Block[] {
  const sorted = slices.toSorted((a, b) => size(a) - size(b));
  const third = (k: number) => Math.round(k * sorted.length / 3);
  const sizes = [0, 1, 2].map((k) => {
    const own = sorted.slice(third(k), third(k + 1));
    return own.length === 0
      ? []
      : [[`${size(own[0]).toFixed(0)} to ${size(own.at(-1)!).toFixed(0)} mm²`, own] as const];
  }).flat();
  const byPlane = [...planes].map(([ending, name]) =>
    [name, slices.filter(({ caseId }) => caseId.endsWith(ending))] as const
  ).filter(([, own]) => own.length > 0);
  const unprompted = (own: readonly SliceRecord[]) => scoreOf(own, "whole-image")?.mean ?? 0;
  const patients = [...Map.groupBy(slices, ({ patient }) => patient)]
    .sort(([, a], [, b]) => unprompted(a) - unprompted(b));
  return [
    groupTable(
      `Dice on ${study.table.context.dataset} over patients that the tested models had not seen, with 95 % ` +
        `intervals where ten or more have a score; then thirds of the slices by tumour size${
          byPlane.length > 0 ? ", and planes" : ""
        }.`,
      [["all", slices], ...sizes, ...byPlane],
    ),
    {
      kind: "details",
      summary: "By patient, the lowest without a prompt first",
      blocks: [groupTable("Dice of each patient.", patients)],
    },
  ];
}

/** Bins of a score, what was said and what was found. */
function binTable(caption: string, found: string, bins: readonly CalibrationBin[]): TableBlock {
  return {
    kind: "table",
    caption,
    header: ["Score", "Slices", "Mean score", found],
    rows: bins.map(({ from, to, slices, said, found }) => [
      `${from.toFixed(2)} to ${to.toFixed(2)}`,
      String(slices),
      said.toFixed(2),
      found.toFixed(2),
    ]),
  };
}

/** Estimated IoU against IoU, and presence against tumour. */
function calibrationSection(records: readonly SliceRecord[], model: StudyModel): Block[] {
  const ious = iouCalibration(records);
  if (ious.length === 0) return [];
  const rule = model.presences[0];
  return [
    { kind: "heading", level: 2, text: "Calibration" },
    binTable(
      `SAM's estimated IoU of masks without a prompt against their IoU (0 where there is no tumour), in bins ` +
        `of as many slices: mean distance ${calibrationError(ious).toFixed(2)}.`,
      "Mean IoU",
      ious,
    ),
    ...(rule
      ? [binTable(
        `Presence score (${
          PRESENCE_SCORES[rule.score].label
        }) against the share of slices with tumour; it is ` +
          `no probability, and the share depends on how many slices of each kind there are.`,
        "Share with tumour",
        presenceCalibration(records, rule.score),
      )]
      : []),
  ];
}

/** Pictures of the worst slices, grouped by the kind of failure, and how many of each kind there are. */
function failureSection({ failures, pictures }: CardSources): Block[] {
  if (failures.length === 0) return [];
  const counts = Map.groupBy(failures, ({ kind }) => kind);
  return [
    { kind: "heading", level: 2, text: "Where it fails" },
    {
      kind: "table",
      caption:
        `The ${failures.length} worst slices without a prompt, by the kind of failure: half of them ` +
        `tumour-free ones with the largest area painted, the others of the lowest Dice.`,
      header: ["Kind", "Slices", "Mean Dice, %", "Patients"],
      rows: (Object.keys(FAILURES) as (keyof typeof FAILURES)[]).flatMap((kind) => {
        const own = counts.get(kind) ?? [];
        if (own.length === 0) return [];
        return [[
          FAILURES[kind],
          String(own.length),
          kind === "invented" ? absent : (100 * mean(own.map(({ dice }) => dice))).toFixed(1),
          [...new Set(own.map(({ patient }) => patient))].join(", "),
        ]];
      }),
    },
    ...(pictures.length > 0
      ? [
        {
          kind: "figure",
          name: "worst_slices",
          alt: "The worst slices without a prompt, grouped by the kind of failure",
          caption: "The same slices. Solid: truth; dashed: mask, drawn whether or not it counts.",
          draw: () => sheetSvg(pictures),
          rasterize,
        } as const,
      ]
      : []),
  ];
}

/** Controls of models like the adapter. */
function controlSection({ controls }: CardSources): Block[] {
  if (controls.length === 0) return [];
  return [
    { kind: "heading", level: 2, text: "Does it find tumour, or tell scanners apart?" },
    ...controls.flatMap(([name, own]): Block[] => {
      const { header, rows } = controlsGrid(own);
      return [
        { kind: "table", caption: `Controls of ${name}.`, header, rows },
        { kind: "list", items: controlsNotes(own) },
      ];
    }),
  ];
}

const INTENDED =
  "Research on the segmentation of intracranial meningioma in contrast-enhanced T1 MRI: under boxes or points " +
  "that a person has drawn, or without any as a first proposal that a person checks slice by slice. It is no " +
  "medical device, was tested on few patients of few sites, and must not decide about anybody's treatment. Other " +
  "tumours, other sequences, children and scans after surgery are outside of what was tested.";

/** The adapter, its training data and its purpose. */
function descriptionBlocks({ adapter, study, files }: CardSources): Block[] {
  const { origin: { config, experiment, split, presence }, bytes } = adapter;
  const value = (field: string) => valueText(config[field]);
  return [
    { kind: "heading", level: 2, text: "Model" },
    {
      kind: "list",
      items: [
        `${displayName(experiment)} on ${study.table.context.baseModel}, input side ${
          value("side")
        }; ` +
        `${mebibytes(bytes)} MiB.`,
        `Trained for ${value("epochs")} epochs at a learning rate of ${
          value("learningRate")
        } (pretrained ` +
        `weights ${value("pretrainedLearningRate")}), ${
          value("healthyShare")
        } of the slices tumour-free${
          config.counterfactuals ? ", counterfactuals beside both kinds" : ""
        }, ` +
        `weight of the estimated IoU's error ${value("iouLoss")}, WiSE-FT share ${
          value("wiseFt")
        }, seed ${value("seed")}.`,
        presence
          ? `A mask without a prompt counts from ${PRESENCE_SCORES[presence.score].label} ${
            presence.threshold.toPrecision(3)
          } on; predict and evaluate apply it.`
          : "It has no rule by which masks without a prompt count: every mask does.",
      ],
    },
    { kind: "heading", level: 2, text: "Data and licence" },
    {
      kind: "list",
      items: [
        `Trained on ${plural(split.train.length, "patient")} of ${value("data")}${
          config.healthy ? ` and ${value("healthy")}` : ""
        }; ${plural(split.validation.length, "patient")} to validate, ${
          plural(split.test.length, "patient")
        } left out.`,
        ...files.notes.notes,
      ],
    },
    { kind: "heading", level: 2, text: "Intended use" },
    { kind: "paragraph", text: INTENDED },
  ];
}

/** The card of an adapter. */
export function modelCard(sources: CardSources): Document {
  const { adapter, study, files } = sources;
  const row = rowName(sources);
  const model = study.models.find(({ experiment }) => experiment === row)!;
  const subject = new Subject({
    ...study,
    models: [model],
    table: {
      ...study.table,
      rows: study.table.rows.filter(({ model: name }) => name === model.name),
    },
  });
  const records = poolRecords(files.records, row);
  const all = files.records.filter((one) => one.row === row)
    .flatMap(({ slices, healthy = [] }) => [...slices, ...healthy]);
  const { scored } = subject;
  return {
    title: `Model card: ${adapter.name}`,
    subtitle: [`Generated from `, { code: study.folder }, ` by samlora`],
    abstract: [
      `The figures are of models trained alike and tested on ${
        plural(scored.patients, "patient")
      } whom each had not seen (${
        plural(scored.slices, "slice")
      } with tumour); the adapter itself was trained ` +
      `on more patients and has none left to be tested on.`,
    ],
    blocks: [
      ...descriptionBlocks(sources),
      { kind: "heading", level: 2, text: "Scores" },
      ...scoreTables(records, sources),
      ...unpromptedSection(subject),
      ...controlSection(sources),
      ...failureSection(sources),
      ...calibrationSection(all, model),
      ...choiceSection(subject),
    ],
  };
}
