import type { SliceRef } from "../data/slices.ts";
import type { Study } from "./read_study.ts";

/** The slice whose masks a study draws, with its truth and the models' predictions under its box. */
export interface SampleMasks
  extends Pick<SliceRef, "width" | "height" | "axis" | "spacing" | "orientation"> {
  /** height * width grey values from 0 to 255. */
  readonly image: Float32Array;
  /** height * width bytes. */
  readonly truth: Uint8Array;
  /** Each model's mask and Dice, by the model's name in tables. */
  readonly predictions: readonly { name: string; mask: Uint8Array; dice: number }[];
  /** Box prompt in pixels. */
  readonly box?: readonly [x0: number, y0: number, x1: number, y1: number];
  /** Case, slice and part of the split. */
  readonly caption: string;
}

/** Writes and removes files of a study by their paths within its folder. */
export interface StudyWriter {
  write(path: string, content: Uint8Array | string): Promise<void>;
  remove(path: string): Promise<void>;
}

/** A study whose rows are scored and compared. */
export interface StudyResults {
  /** Null if no row of the study has come to its end. */
  readonly study: Study | null;
  readonly table: Study["table"];
  /** Null for a cross-validation. */
  readonly sample: SampleMasks | null;
  /** True if event files for TensorBoard are written. */
  readonly tensorboard: boolean;
  /** True if tasks are missing: the table is of what there is. */
  readonly isPartial: boolean;
  /** The study's folder. */
  readonly files: StudyWriter;
  readonly log: (line: string) => void;
}

/** Renders a study for its readers: tables, curves, masks, report. Called before the study is closed. */
export type Publish = (results: StudyResults) => Promise<void>;
