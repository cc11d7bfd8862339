import type { Adapter } from "../adapters/adapter.ts";
import { applyAdapter } from "../adapters/apply_adapter.ts";
import { orientationOf } from "../data/orientation.ts";
import { cut } from "../data/plane.ts";
import type { Box, Prompt, PromptPoint } from "../data/prompts.ts";
import { binarise } from "../data/target.ts";
import { caseName } from "../data/sources/names.ts";
import type { Thumbnails } from "../data/thumbnails.ts";
import { excerpt, InputError } from "../errors.ts";
import { isPresent, PRESENCE_SCORES, type PresenceRule } from "../evaluate/presence.ts";
import { encodeNifti } from "../formats/nifti_writer.ts";
import { requireSameGrid, type Volume } from "../formats/volume.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { dice } from "../metrics/metrics.ts";
import type { WeightSource } from "../nn/weight_source.ts";
import { maskName } from "../predict/mask_name.ts";
import { predictionsTable } from "../predict/predictions_table.ts";
import { type ObjectPrompt, type SliceGrid, withoutPrompt } from "../predict/prompts.ts";
import {
  gridOf,
  lookAlikeSentence,
  type Recipe,
  recipeOf,
  requireTrainedOn,
  trainingSlices,
} from "../predict/recipe.ts";
import { segmentObject, SPREAD } from "../predict/segment_object.ts";
import { combineObjects, type FoundObject, sliceLabels } from "../predict/segment_scan.ts";
import { type SliceMask, SliceSegmenter } from "../predict/slice_segmenter.ts";
import { summarise } from "../predict/summary.ts";
import { buildSam } from "../sam/build_sam.ts";
import { type ModelName, MODELS } from "../sam/models.ts";
import { SamPredictor } from "../sam/predictor.ts";
import type { Sam } from "../sam/sam.ts";
import { DisplayGrid, type Voxel } from "./display_grid.ts";
import type {
  Download,
  Largest,
  ListedObject,
  OpenedScan,
  SlicesOf,
  Update,
  UsedAdapter,
  UserPrompt,
} from "./protocol.ts";

/** A pretrained model to work with. */
export interface SessionModel {
  /** Its name in the registry. */
  readonly model: ModelName;
  /** Opens its weights, each time that an adapter is put into them. */
  readonly weights: () => Promise<WeightSource>;
  /** Description of the weights, as adapters name those that they were trained on. */
  readonly weightsName: string;
  /** Side of its input where no adapter says; null for its own. */
  readonly side: number | null;
}

/** A scan and the parts of it that are computed once. */
interface Scan {
  readonly volume: Volume;
  readonly name: string;
  /** True mask, a byte a voxel; null if there is none. */
  readonly truth: Uint8Array | null;
}

/** An object; it is replaced, never changed, so that undoing is going back to the one before. */
interface ViewObject extends FoundObject {
  readonly id: number;
  readonly prompts: ReadonlyMap<number, Prompt>;
  readonly isUnprompted: boolean;
}

/** The model in use. */
interface Loaded {
  readonly sam: Sam;
  readonly predictor: SamPredictor;
  readonly recipe: Recipe;
  /** Rule by which masks without a prompt count; null for any. */
  readonly presence: PresenceRule | null;
  /** Slices that the adapter was trained on. */
  readonly seen: Thumbnails | null;
}

/** Objects, and which of them prompts go to. */
interface State {
  readonly objects: readonly ViewObject[];
  readonly current: number | null;
}

const EMPTY: State = { objects: [], current: null };

/** Changes that can be taken back. */
const HISTORY = 100;

/** A voxel of a slice's window. */
interface Pixel {
  readonly index: number;
  readonly x: number;
  readonly y: number;
}

/**
 * A scan that is segmented by hand: prompts give masks, objects spread, and the last change can be taken back.
 * One call at a time.
 */
export class Session implements Disposable {
  readonly #gpu: Gpu;
  readonly #model: SessionModel;
  #loaded: Loaded;
  #scan: Scan | null = null;
  #grid: SliceGrid | null = null;
  #segmenter: SliceSegmenter | null = null;
  #state: State = EMPTY;
  #history: State[] = [];
  #nextId = 1;

  private constructor(gpu: Gpu, model: SessionModel, loaded: Loaded) {
    this.#gpu = gpu;
    this.#model = model;
    this.#loaded = loaded;
  }

  /**
   * Loads a model without an adapter.
   *
   * @throws {InputError} if its weights cannot be read.
   */
  static async start(gpu: Gpu, model: SessionModel): Promise<Session> {
    return new Session(gpu, model, await load(gpu, model, null));
  }

  /**
   * Puts another adapter into the model. Masks of prompted slices are made anew; where the adapter is shown
   * other slices than the one before, there are no objects any more.
   *
   * @param adapter The adapter; null for none.
   * @param name Its name for messages.
   * @throws {InputError} if it does not fit the model; the one before is used then.
   */
  async useAdapter(adapter: Adapter | null, name: string): Promise<UsedAdapter> {
    const loaded = await load(this.#gpu, this.#model, adapter);
    const before = this.#grid;
    this.#loaded.sam.dispose();
    this.#loaded = loaded;
    const hadObjects = this.#state.objects.length > 0;
    const old = this.#state;
    this.#openSlices();
    this.#history = [];
    let note: string | null = null;
    const isSame = before === null || JSON.stringify(before) === JSON.stringify(this.#grid);
    if (!isSame) {
      this.#state = EMPTY;
      if (hadObjects) note = "The adapter is shown other slices, so that the objects are gone.";
    } else {
      const objects: ViewObject[] = [];
      let spread = false;
      for (const object of old.objects) {
        const masks = new Map<number, SliceMask>();
        for (const [index, prompt] of object.prompts) {
          masks.set(index, await this.#segment(index, prompt));
        }
        spread ||= masks.size < object.masks.size;
        const presence = object.isUnprompted ? loaded.presence : null;
        objects.push({ ...object, masks, presence });
      }
      this.#state = { ...old, objects };
      if (spread) note = "Masks of prompted slices were made anew: spread the objects again.";
    }
    const { side, rescale, crop } = loaded.recipe;
    const recipe = adapter && recipeOf(adapter);
    const about = adapter === null
      ? `${MODELS[this.#model.model].label} as it was pretrained, side ${side}`
      : `${
        recipe ? "used as it was trained" : "does not say how it was trained; used with"
      }: side ${side}, ` +
        `${rescale}${crop === null ? "" : `, centre crop of ${crop}`}`;
    return { name, about, slices: this.#slices(), update: this.#update(old, note) };
  }

  /**
   * Opens a scan in place of the one before.
   *
   * @throws {InputError} if it cannot be drawn; the one before is open then.
   */
  openScan(
    volume: Volume,
    { name, largest }: { name: string; largest: Largest },
  ): OpenedScan {
    const { shape, spacing, notes } = volume;
    const orientation = orientationOf(volume);
    const grid = new DisplayGrid({ shape, spacing, orientation });
    grid.requireDrawable({ largest, name });
    this.#scan = { volume, name, truth: null };
    this.#state = EMPTY;
    this.#history = [];
    this.#openSlices();
    return {
      name,
      shape,
      spacing,
      orientation,
      drawn: grid.reorder(volume.data) as Float32Array<ArrayBuffer>,
      notes,
      slices: this.#slices()!,
    };
  }

  /**
   * Takes a segmentation as the truth; null for none.
   *
   * @throws {InputError} if it is none of the scan.
   */
  setTruth(
    truth: { readonly volume: Volume; readonly name: string } | null,
  ): { drawn: Float32Array<ArrayBuffer> | null; update: Update } {
    const scan = this.#open();
    let mask: Uint8Array | null = null;
    if (truth) {
      requireSameGrid(scan, truth);
      mask = binarise(truth.volume, { target: "auto", name: truth.name });
    }
    this.#scan = { ...scan, truth: mask };
    const { shape, spacing } = scan.volume;
    const grid = new DisplayGrid({ shape, spacing, orientation: orientationOf(scan.volume) });
    const drawn = mask && grid.reorder(Float32Array.from(mask)) as Float32Array<ArrayBuffer>;
    return { drawn, update: this.#update(this.#state) };
  }

  /** Encodes a slice and compiles what prompting takes, so that the first prompt has its mask at once. */
  async prepare(index: number): Promise<void> {
    this.#open();
    const { width, height } = this.#grid!.window;
    await this.#segment(index, { box: [0, 0, width, height] });
  }

  /**
   * Adds a prompt to the current object, or to a new one, and segments its slice.
   *
   * @throws {InputError} if it lies outside what the model is shown.
   */
  async prompt(prompt: UserPrompt): Promise<Update> {
    this.#open();
    const { window: { width, height } } = this.#grid!;
    const { objects, current } = this.#state;
    const isUnprompted = prompt.kind === "none";
    const own = objects.find(({ id }) => id === current);
    // A slice without a prompt is no refinement of an object that has one.
    const object = own && !(isUnprompted && !own.isUnprompted) ? own : {
      id: this.#nextId++,
      prompts: new Map<number, Prompt>(),
      masks: new Map<number, SliceMask>(),
      isUnprompted,
      presence: isUnprompted ? this.#loaded.presence : null,
    };
    let index: number;
    let next: Prompt;
    if (prompt.kind === "none") {
      index = prompt.index;
      next = { box: [0, 0, width, height] };
    } else if (prompt.kind === "point") {
      const pixel = this.#pixelOf(prompt.voxel);
      index = pixel.index;
      const before = object.prompts.get(index) ?? {};
      const point: PromptPoint = { x: pixel.x, y: pixel.y, label: prompt.label };
      if (point.label === 0 && !before.box && !before.points?.some(({ label }) => label === 1)) {
        throw new InputError(
          "this slice has no object yet to be beside: click on the object first",
        );
      }
      next = { ...before, points: [...before.points ?? [], point] };
    } else {
      const [a, b] = [this.#pixelOf(prompt.from), this.#pixelOf(prompt.to)];
      index = a.index;
      const box: Box = [
        Math.min(a.x, b.x),
        Math.min(a.y, b.y),
        Math.max(a.x, b.x) + 1,
        Math.max(a.y, b.y) + 1,
      ];
      next = { ...object.prompts.get(index), box };
    }
    const mask = await this.#segment(index, next);
    const changed: ViewObject = {
      ...object,
      prompts: new Map([...object.prompts, [index, next]]),
      masks: new Map([...object.masks, [index, mask]]),
    };
    const update = this.#change({
      objects: objects.includes(object as ViewObject)
        ? objects.map((one) => one === object ? changed : one)
        : [...objects, changed],
      current: object.id,
    });
    const note = this.#noteOn(changed, mask);
    // A mask that is not shown needs no warning.
    return note === null ? this.#cautioned(update, new Map([[index, mask]])) : { ...update, note };
  }

  /**
   * Segments the slices beside the prompted ones, as far as the object reaches; an object without a prompt
   * in every slice.
   *
   * @param options.onSlice Called after each slice with the share that is done, where it is known.
   * @param options.signal Ends it with what there is.
   * @throws {InputError} if there is no object.
   */
  async propagate(
    { onSlice, signal }: {
      onSlice: (index: number, share: number | null) => void;
      signal: AbortSignal;
    },
  ): Promise<Update> {
    this.#open();
    const { objects, current } = this.#state;
    const object = objects.find(({ id }) => id === current) ?? objects.at(-1);
    if (!object) {
      throw new InputError("there is no object yet: click on one, or draw a box round it");
    }
    const grid = this.#grid!;
    const prompt: ObjectPrompt = object.isUnprompted
      ? withoutPrompt(grid, [0, grid.count - 1])
      : { name: "", slices: object.prompts, spread: [0, grid.count - 1] };
    let done = 0;
    const masks = await segmentObject(this.#segmenter!, prompt, {
      rule: SPREAD,
      window: grid.window,
      signal,
      // An object ends where it ends: only one without a prompt has as many slices as the scan.
      onSlice: (index) => onSlice(index, object.isUnprompted ? ++done / grid.count : null),
    });
    const prompts = new Map(object.prompts);
    // Slices in which it was corrected keep their prompts.
    for (const [index, own] of object.prompts) {
      if (object.isUnprompted && own.points) masks.set(index, object.masks.get(index)!);
    }
    const changed = { ...object, masks, prompts };
    const update = this.#change({
      objects: objects.map((one) => one === object ? changed : one),
      current: object.id,
    });
    return this.#cautioned(update, masks);
  }

  /** Ends the current object, so that the next prompt makes a new one. */
  accept(): Update {
    return this.#change({ ...this.#state, current: null });
  }

  /** Makes an object current. */
  choose(id: number): Update {
    this.#state = { ...this.#state, current: id };
    return this.#update(this.#state);
  }

  /** Removes an object. */
  remove(id: number): Update {
    const { objects, current } = this.#state;
    return this.#change({
      objects: objects.filter((object) => object.id !== id),
      current: current === id ? null : current,
    });
  }

  /** Takes back the last change. */
  undo(): Update {
    const before = this.#state;
    this.#state = this.#history.pop() ?? this.#state;
    return this.#update(before);
  }

  /** The labels on the scan's own grid, as `./run predict` writes them. */
  mask(): Download {
    const { volume, name } = this.#open();
    const { objects } = this.#state;
    const { labels } = this.#combined();
    const file = maskName({ id: caseName(name) || name, path: name });
    const bytes = encodeNifti({ ...volume, data: labels }, {
      datatype: objects.length > 255 ? "int16" : "uint8",
      source: file,
    });
    return { name: file, bytes };
  }

  /** The table of measures, as `./run predict` writes it. */
  table(): Download {
    const { volume, name } = this.#open();
    const { labels, presence } = this.#combined();
    const mask = Uint8Array.from(labels, (label) => Number(label !== 0));
    const summary = summarise(mask, volume, this.#grid!.axis);
    const text = predictionsTable([{ name: caseName(name) || name, presence, ...summary }]);
    return { name: "predictions.csv", bytes: new TextEncoder().encode(text) };
  }

  /**
   * Low-resolution logits of the current object's mask in a slice.
   *
   * @throws {InputError} if it has none there.
   */
  logits(index: number): Float32Array<ArrayBuffer> {
    const { objects, current } = this.#state;
    const found = objects.find(({ id }) => id === current)?.masks.get(index);
    if (found) return found.logits.slice();
    throw new InputError("the current object has no mask in this slice: prompt it first");
  }

  /** Frees the model; the device is left alone. */
  [Symbol.dispose](): void {
    this.#segmenter?.[Symbol.dispose]();
    this.#loaded.predictor[Symbol.dispose]();
    this.#loaded.sam.dispose();
  }

  #open(): Scan {
    if (this.#scan) return this.#scan;
    throw new InputError("no scan is open: open one first");
  }

  /** Slices of the scan for the model that is in use. */
  #openSlices(): void {
    this.#segmenter?.[Symbol.dispose]();
    this.#segmenter = null;
    if (!this.#scan) return;
    const { volume } = this.#scan;
    const { predictor, recipe } = this.#loaded;
    this.#grid = gridOf(volume, recipe);
    this.#segmenter = new SliceSegmenter(predictor, {
      voxels: volume.data,
      grid: this.#grid,
      method: recipe.rescale,
    });
  }

  #slices(): SlicesOf | null {
    if (!this.#grid) return null;
    const { axis, count, window } = this.#grid;
    return { axis, count, window };
  }

  async #segment(index: number, prompt: Prompt): Promise<SliceMask> {
    return await this.#segmenter!.segment(index, prompt);
  }

  /** The pixel of a voxel in the slices that the model is shown. */
  #pixelOf(voxel: Voxel): Pixel {
    const { axis, window, count } = this.#grid!;
    const [column, row] = [0, 1, 2].filter((other) => other !== axis);
    const [x, y, index] = [voxel[column] - window.x, voxel[row] - window.y, voxel[axis]];
    const isInside = x >= 0 && x < window.width && y >= 0 && y < window.height && index >= 0 &&
      index < count;
    if (isInside) return { index, x, y };
    throw new InputError(
      `this place lies outside the centre crop of ${window.width} x ${window.height} pixels that the ` +
        `adapter was trained on: choose one within it, or another adapter`,
    );
  }

  #combined(): ReturnType<typeof combineObjects> {
    const { volume } = this.#open();
    return combineObjects(this.#state.objects, {
      voxels: volume.data.length,
      grid: this.#grid!,
      merge: false,
    });
  }

  #change(next: State): Update {
    const before = this.#state;
    this.#history = [...this.#history, before].slice(-HISTORY);
    this.#state = next;
    return this.#update(before);
  }

  /** The state, with the labels of slices in which it differs from the one before. */
  #update(before: State, note: string | null = null): Update {
    const { objects, current } = this.#state;
    const all = [...before.objects, ...objects];
    const indices = new Set(all.flatMap(({ masks }) => [...masks.keys()]));
    const masksOf = (of: State, index: number) => of.objects.map(({ masks }) => masks.get(index));
    const changed = this.#grid === null ? [] : [...indices].filter((index) => {
      const [was, is] = [masksOf(before, index), masksOf(this.#state, index)];
      return [...(was.length > is.length ? was : is).keys()].some((i) => was[i] !== is[i]);
    });
    return {
      objects: objects.map((object) => this.#listed(object)),
      current,
      canUndo: this.#history.length > 0,
      changed: changed.map((index) => ({ index, labels: this.#labels(index) })),
      dice: this.#dice(),
      note,
      caution: null,
    };
  }

  #labels(index: number): Uint8Array {
    const labels = sliceLabels(this.#state.objects, { grid: this.#grid!, index, merge: false });
    return Uint8Array.from(labels, (label) => label === 0 ? 0 : (label - 1) % 255 + 1);
  }

  #listed({ id, masks, presence, prompts, isUnprompted }: ViewObject): ListedObject {
    const { spacing } = this.#scan!.volume;
    const shown = [...masks].filter(([, { area, scores }]) =>
      area > 0 && isPresent(scores, presence)
    );
    const voxels = shown.reduce((sum, [, { area }]) => sum + area, 0);
    return {
      id,
      millilitres: voxels * spacing[0] * spacing[1] * spacing[2] / 1000,
      slices: shown.map(([index]) => index).sort((a, b) => a - b),
      prompts: [...prompts].map(([index, prompt]) => ({ index, prompt })),
      isUnprompted,
    };
  }

  /** Dice of all objects together with the truth. */
  #dice(): Update["dice"] {
    const truth = this.#scan?.truth;
    if (!truth) return null;
    const { plane, window, count } = this.#grid!;
    const { labels } = this.#combined();
    const own = Uint8Array.from(labels, (label) => Number(label !== 0));
    const slices = new Map<number, number>();
    for (let index = 0; index < count; index++) {
      const place = { ...window, x: 0, y: 0, width: plane.width, height: plane.height, index };
      const [mask, known] = [cut(own, plane, place), cut(truth, plane, place)];
      if (mask.includes(1) || known.includes(1)) slices.set(index, dice(mask, known));
    }
    return { volume: dice(own, truth), slices };
  }

  /** Sentence on a mask that the user does not see. */
  #noteOn({ presence }: ViewObject, mask: SliceMask): string | null {
    if (mask.area === 0) return "The model finds nothing here.";
    if (presence && !isPresent(mask.scores, presence)) {
      const { label } = PRESENCE_SCORES[presence.score];
      const score = mask.scores[presence.score].toFixed(1);
      return `No tumour here by the presence rule: the ${label} is ${score}, below ${presence.threshold}.`;
    }
    return null;
  }

  /** Adds a warning of slices that look like those that the adapter was trained on. */
  #cautioned(update: Update, masks: ReadonlyMap<number, SliceMask>): Update {
    const { seen } = this.#loaded;
    if (!seen) return update;
    const { width, height } = this.#grid!.window;
    const alike = [...masks.keys()].filter((index) =>
      seen.has({ image: this.#segmenter!.pixels(index), width, height })
    );
    if (alike.length === 0) return update;
    return {
      ...update,
      caution: lookAlikeSentence(alike.map((index) => String(index + 1)), masks.size),
    };
  }
}

/** Builds a model, with an adapter if there is one. */
async function load(
  gpu: Gpu,
  { model, weights, weightsName, side }: SessionModel,
  adapter: Adapter | null,
): Promise<Loaded> {
  const trained = adapter && recipeOf(adapter);
  if (adapter) requireTrainedOn(adapter, weightsName);
  if (trained && trained.recipe.model !== model) {
    throw new InputError(
      `${excerpt(adapter!.source)} was trained for ${
        MODELS[trained.recipe.model].label
      }, and this page has ${
        MODELS[model].label
      }: start ./run view --model ${trained.recipe.model}`,
    );
  }
  const recipe: Recipe = {
    model,
    side: side ?? MODELS[model].sides.native,
    axis: 2,
    crop: null,
    rescale: "percentile",
    ...trained?.recipe,
  };
  using source = await weights();
  const sam = await buildSam(gpu, MODELS[model], { weights: source, side: recipe.side });
  try {
    if (adapter) await applyAdapter(sam, adapter);
    return {
      sam,
      predictor: new SamPredictor(sam, { side: recipe.side }),
      recipe,
      presence: trained?.presence ?? null,
      seen: adapter && trainingSlices(adapter),
    };
  } catch (error) {
    sam.dispose();
    throw error;
  }
}
