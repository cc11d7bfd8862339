/**
 * Messages between the page and its worker: the page asks, the worker answers each question once, and tells
 * of progress in between. Voxels are those of the scan, not of the picture.
 *
 * @module
 */
import type { Prompt } from "../data/prompts.ts";
import type { Checkpoint, ModelName } from "../sam/models.ts";
import type { Voxel } from "./display_grid.ts";

/** Sentence on a device that is gone. */
export const LOST: string =
  "The graphics device was lost (the driver was reset, or another program took its memory): save the masks " +
  "that you have, then reload the page; close other pages that compute on it if this happens again.";

/** Sentence on a scan that is too large for the browser. */
export const NO_HOST_MEMORY: string =
  "The browser has no memory left for this scan: close other pages, or crop or resample the scan.";

/** A file that the page's own server has, by its address relative to the page. */
export interface ServedFile {
  /** Name for messages. */
  readonly name: string;
  /** Address. */
  readonly url: string;
}

/** Contents of `site.json`: what the page was built with. */
export interface Site {
  /** The pretrained model. */
  readonly model: ModelName;
  /** Description of its weights, as adapters name those that they were trained on. */
  readonly weightsName: string;
  /** Files of its weights, and the hash that each must have: two ONNX graphs of a package, or one checkpoint. */
  readonly weights: readonly (ServedFile & Pick<Checkpoint, "bytes" | "sha256">)[];
  /** Side of the model's input where no adapter says; null for the model's own. */
  readonly side: number | null;
  /** Adapters by the names of the chooser. */
  readonly adapters: readonly { readonly name: string; readonly files: readonly ServedFile[] }[];
  /** Name of the one that is used at the start; null for none. */
  readonly adapter: string | null;
  /** Scan that is opened at the start, of one file or of several. */
  readonly scan: readonly ServedFile[];
  /** Sentence on the origin of that scan; null if the user has named it. */
  readonly about: string | null;
}

/** A prompt of the user's. */
export type UserPrompt =
  | { readonly kind: "point"; readonly voxel: Voxel; readonly label: 0 | 1 }
  /** Two corners, both within the box, in one slice. */
  | { readonly kind: "box"; readonly from: Voxel; readonly to: Voxel }
  /** The whole of a slice: no hint at all. */
  | { readonly kind: "none"; readonly index: number };

/** An open scan. */
export interface OpenedScan {
  /** Name of its file or folder. */
  readonly name: string;
  /** Voxels along its axes. */
  readonly shape: Voxel;
  /** Voxel size in mm. */
  readonly spacing: readonly [number, number, number];
  /** Sides that its axes run to, such as `LPS`; null if it does not say. */
  readonly orientation: string | null;
  /** Voxel values in the order of `DisplayGrid`. */
  readonly drawn: Float32Array<ArrayBuffer>;
  /** Lines on what is odd about the file. */
  readonly notes: readonly string[];
  /** Slices of it that the model is shown. */
  readonly slices: SlicesOf;
}

/** Slices that the model is shown. */
export interface SlicesOf {
  /** Axis that they are perpendicular to. */
  readonly axis: 0 | 1 | 2;
  /** Their number. */
  readonly count: number;
  /** Part of each that the model is shown, in pixels. */
  readonly window: {
    readonly x: number;
    readonly y: number;
    readonly width: number;
    readonly height: number;
  };
}

/** An object as the page lists it; its label is its place in the list, from 1. */
export interface ListedObject {
  /** Number that it keeps when others are removed. */
  readonly id: number;
  /** Its volume. */
  readonly millilitres: number;
  /** Slices with a voxel of it, in order. */
  readonly slices: readonly number[];
  /** Its prompts by slice, in pixels of the window. */
  readonly prompts: readonly { readonly index: number; readonly prompt: Prompt }[];
  /** True if it has no prompt: whole slices are shown to the model, and a presence rule decides. */
  readonly isUnprompted: boolean;
}

/** State after a command. */
export interface Update {
  /** The objects. */
  readonly objects: readonly ListedObject[];
  /** Id of the object that prompts go to; null if the next one makes a new object. */
  readonly current: number | null;
  /** True if there is something to undo. */
  readonly canUndo: boolean;
  /** Labels of the slices that changed: a byte a pixel of the window. */
  readonly changed: readonly { readonly index: number; readonly labels: Uint8Array }[];
  /** Dice with the truth in each slice that has either, and in the volume; null without a truth. */
  readonly dice: { readonly volume: number; readonly slices: ReadonlyMap<number, number> } | null;
  /** A sentence that the user should read; null if there is none. */
  readonly note: string | null;
  /** Reason not to trust the masks that it brought, beside what else is said. */
  readonly caution: string | null;
}

/** An adapter in use. */
export interface UsedAdapter {
  /** Name in the chooser. */
  readonly name: string;
  /** Sentence on how it is used. */
  readonly about: string;
  /** Slices that it is shown; null if no scan is open. */
  readonly slices: SlicesOf | null;
  /** Objects with their masks made anew. */
  readonly update: Update;
}

/** A file to download. */
export interface Download {
  /** Its name. */
  readonly name: string;
  /** Its content. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Series of which one has to be chosen. */
export interface SeriesChoice {
  /** Their ids and descriptions. */
  readonly series: readonly { readonly id: string; readonly description: string }[];
}

/** Voxels along an axis that the browser draws at most. */
export interface Largest {
  /** Of one slice. */
  readonly flat: number;
  /** Of several slices. */
  readonly solid: number;
}

/** Questions by name, with what each takes and what it is answered with. */
export interface Questions {
  /** Opens the device and loads the model; once, and first. */
  start: (site: Site) => { readonly device: string; readonly isCpu: boolean };
  /** Uses another adapter; null for none. */
  adapter: (
    chosen: { readonly name: string; readonly files: readonly File[] } | null,
  ) => UsedAdapter;
  /** Opens a scan, if it can be drawn. */
  scan: (
    chosen: {
      readonly files: readonly File[];
      readonly series?: string;
      readonly largest: Largest;
    },
  ) => OpenedScan | SeriesChoice;
  /** Opens the truth to compare with; null for none. The answer holds it in the order of `DisplayGrid`. */
  truth: (
    files: readonly File[] | null,
  ) => { readonly drawn: Float32Array<ArrayBuffer> | null; readonly update: Update };
  /** Encodes a slice ahead of its first prompt. */
  prepare: (index: number) => { readonly milliseconds: number };
  /** Adds a prompt to the current object. */
  prompt: (prompt: UserPrompt) => Update & { readonly milliseconds: number };
  /** Spreads the current object through the volume; `stop` ends it with what there is. */
  propagate: () => Update & { readonly isStopped: boolean };
  /** Ends the current object, so that the next prompt makes a new one. */
  accept: () => Update;
  /** Makes an object current. */
  choose: (id: number) => Update;
  /** Removes an object. */
  remove: (id: number) => Update;
  /** Takes back the last change of the objects. */
  undo: () => Update;
  /** The labels on the scan's own grid. */
  mask: () => Download;
  /** The table of measures. */
  table: () => Download;
  /** Low-resolution logits of the current object's mask in a slice, for those who want more than the mask. */
  logits: (index: number) => Float32Array<ArrayBuffer>;
}

/** Name of a question. */
export type Question = keyof Questions;

/** A question. */
export interface Ask<Q extends Question = Question> {
  /** Number that its answer bears. */
  readonly id: number;
  /** Its name. */
  readonly question: Q;
  /** Its argument. */
  readonly value: Parameters<Questions[Q]>[0];
}

/** Progress of what the worker is doing. */
export interface ProgressEvent {
  /** Current work, in words. */
  readonly label: string;
  /** Share that is done, 0 to 1; null where it is not known. */
  readonly share: number | null;
}

/** Messages to the worker. */
export type ToWorker = Ask | "stop";

/** Messages from the worker. */
export type FromWorker =
  | { readonly id: number; readonly answer: unknown }
  /** A question that failed, in a sentence. */
  | { readonly id: number; readonly error: string }
  | { readonly progress: ProgressEvent }
  /** The device is gone: nothing will be computed any more, but masks can be saved. */
  | { readonly end: string };
