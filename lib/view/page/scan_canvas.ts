/// <reference lib="dom" />
import {
  DRAG_MODE,
  MULTIPLANAR_TYPE,
  Niivue,
  NVImage,
  SHOW_RENDER,
  SLICE_TYPE,
} from "@niivue/niivue";
import { encodeNifti } from "../../formats/nifti_writer.ts";
import { createVolume } from "../../formats/volume.ts";
import { night } from "../../report/palette.ts";
import { DisplayGrid, type Voxel } from "../display_grid.ts";
import type { Largest, ListedObject, OpenedScan, SlicesOf, Update } from "../protocol.ts";

/** Ways to look at a scan: one slice as the model is shown it, three planes, or the volume. */
export type View = "slice" | "planes" | "solid";

/** A gesture in a slice. */
export type Gesture =
  | { readonly kind: "click"; readonly voxel: Voxel; readonly isSecondary: boolean }
  | { readonly kind: "box"; readonly from: Voxel; readonly to: Voxel };

/** Elements round the canvas, and what the page does when they are used. */
export interface CanvasOptions {
  /** The element that holds the canvas. */
  readonly stage: HTMLElement;
  /** The drawing over it. */
  readonly marks: SVGSVGElement;
  /** Called with each gesture. */
  readonly onGesture: (gesture: Gesture) => void;
  /** Called with the index of the slice when another one is shown. */
  readonly onSlice: (index: number) => void;
}

/** Label of the truth's outline; those of objects come before it. */
const TRUTH = 255;

/** NiiVue's names for the planes across the drawn axes. */
const ACROSS = [SLICE_TYPE.SAGITTAL, SLICE_TYPE.CORONAL, SLICE_TYPE.AXIAL];

/** Opacity of the scan in 3D. */
const THROUGH = 0.3;

/** Width of the cross, as a part of the scan's longest side. */
const CROSS = 0.004;

/** Pixels that a click may move. */
const SLACK = 5;

/** Colours of the labels as NiiVue takes them, of red, green and blue. */
function colours() {
  const own = night.series.slice(1).map((hex) =>
    [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16))
  );
  const all = Array.from(
    { length: TRUTH + 1 },
    (_, label) =>
      label === 0 ? [0, 0, 0] : label === TRUTH ? [255, 255, 255] : own[(label - 1) % own.length],
  );
  const channel = (i: number) => all.map((colour) => colour[i]);
  return {
    R: channel(0),
    G: channel(1),
    B: channel(2),
    A: all.map((_, label) => label === 0 ? 0 : label === TRUTH ? 110 : 255),
    I: all.map((_, label) => label),
    labels: all.map(String),
  };
}

/** Number of the colour of a label, from 1. */
export function colourOf(label: number): number {
  return (label - 1) % (night.series.length - 1) + 1;
}

/** The picture: NiiVue draws scan and masks, an SVG over it the prompts. */
export class ScanCanvas {
  readonly #niivue: Niivue;
  readonly #stage: HTMLElement;
  readonly #marks: SVGSVGElement;
  readonly #onGesture: (gesture: Gesture) => void;
  readonly #onSlice: (index: number) => void;
  #grid: DisplayGrid | null = null;
  #scan: OpenedScan | null = null;
  #slices: SlicesOf | null = null;
  #view: View = "slice";
  #objects: readonly ListedObject[] = [];
  #labels = new Uint8Array(0);
  #edge: Uint8Array | null = null;
  #index = -1;
  /** True if the cross is moved by keys. */
  #hasCross = false;
  /** True if dragging draws a box. */
  drawsBoxes = false;
  /** True if no gesture counts. */
  isLocked = false;

  private constructor(
    niivue: Niivue,
    { stage, marks, onGesture, onSlice }: CanvasOptions,
  ) {
    this.#niivue = niivue;
    this.#stage = stage;
    this.#marks = marks;
    this.#onGesture = onGesture;
    this.#onSlice = onSlice;
    niivue.onLocationChange = () => this.#moved();
    this.#listen();
    new ResizeObserver(() => {
      niivue.resizeListener();
      this.#drawMarks();
    }).observe(stage);
  }

  /**
   * Puts NiiVue on a canvas.
   *
   * @throws {Error} if the browser has no WebGL 2.
   */
  static async open(
    canvas: HTMLCanvasElement,
    options: CanvasOptions,
  ): Promise<ScanCanvas> {
    const niivue = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.45, 0.5, 0.56, 1],
      crosshairWidth: 0,
      crosshairWidthUnit: "mm",
      crosshairGap: 10,
      dragAndDropEnabled: false,
      dragMode: DRAG_MODE.contrast,
      isRadiologicalConvention: true,
      isCornerOrientationText: false,
      fontColor: [1, 1, 1, 0.7],
      fontMinPx: 12,
      fontSizeScaling: 0.3,
      loadingText: "",
      logLevel: "error",
      multiplanarLayout: MULTIPLANAR_TYPE.GRID,
      multiplanarShowRender: SHOW_RENDER.ALWAYS,
      show3Dcrosshair: false,
      tileMargin: 4,
    });
    await niivue.attachToCanvas(canvas);
    niivue.setDrawColormap(colours() as unknown as string); // which takes a table, too
    niivue.drawOpacity = 0.42;
    niivue.drawRimOpacity = 1;
    return new ScanCanvas(niivue, options);
  }

  /** Voxels along an axis that are drawn at most. */
  get largest(): Largest {
    const { max2D, max3D } = this.#niivue.uiData;
    return { flat: max2D!, solid: max3D! };
  }

  /** Shows a scan; its middle slice first. */
  async show(scan: OpenedScan): Promise<void> {
    const niivue = this.#niivue;
    this.#grid = new DisplayGrid(scan);
    this.#scan = scan;
    this.#slices = scan.slices;
    this.#index = -1;
    const { shape, spacing } = this.#grid;
    const volume = createVolume(scan.drawn, { shape, spacing });
    const bytes = encodeNifti(volume, { datatype: "float32", source: scan.name });
    const image = await NVImage.loadFromUrl({ url: "scan.nii", buffer: bytes.buffer });
    niivue.closeDrawing();
    for (const old of [...niivue.volumes]) niivue.removeVolume(old);
    niivue.opts.isOrientationTextVisible = scan.orientation !== null;
    niivue.addVolume(image);
    this.#labels = new Uint8Array(scan.drawn.length);
    this.#edge = null;
    this.#objects = [];
    niivue.createEmptyDrawing();
    niivue.drawUndoBitmaps = [];
    this.setView(this.isFlat ? "slice" : this.#view);
    this.goTo(scan.slices.count >> 1);
  }

  /** True if the scan is of one slice. */
  get isFlat(): boolean {
    return this.#slices?.count === 1;
  }

  /** Slices that the model is shown, if the adapter has changed. */
  setSlices(slices: SlicesOf): void {
    this.#slices = slices;
    this.#index = -1;
    this.setView(this.#view);
    this.#moved();
  }

  /** Changes the way to look at it. */
  setView(view: View): void {
    this.#view = view;
    if (!this.#grid || !this.#slices) return;
    const own = ACROSS[this.#grid.drawnAxis(this.#slices.axis)];
    const type = { slice: own, planes: SLICE_TYPE.MULTIPLANAR, solid: SLICE_TYPE.RENDER }[view];
    this.#showCross(this.#hasCross);
    // Masks lie within: the scan is drawn through.
    this.#niivue.volumes[0].opacity = view === "solid" ? THROUGH : 1;
    this.#niivue.updateGLVolume();
    this.#niivue.setSliceType(type);
    this.#draw();
  }

  /** Shows the cross in three planes, and where it is moved by keys. */
  #showCross(isMoved: boolean): void {
    this.#hasCross = isMoved;
    if (!this.#grid) return;
    const { shape, spacing } = this.#grid;
    const longest = Math.max(...shape.map((n, axis) => n * spacing[axis]));
    this.#niivue.opts.crosshairWidth = this.#view === "planes" || isMoved ? CROSS * longest : 0;
  }

  /** Moves the cross within the slice, by voxels to the right and up as they are drawn. */
  moveCross(right: number, up: number): void {
    if (!this.#grid || !this.#slices) return;
    const across = this.#grid.drawnAxis(this.#slices.axis);
    const [column, row] = [0, 1, 2].filter((axis) => axis !== across);
    const at = [...this.#grid.toDrawn(this.voxel)] as [number, number, number];
    at[column] += column === 0 ? -right : right; // the patient's right is on the left
    at[row] += up;
    this.#showCross(true);
    this.#niivue.scene.crosshairPos = this.#fraction(
      at.map((n, axis) =>
        Math.max(0, Math.min(this.#grid!.shape[axis] - 1, n))
      ) as unknown as Voxel,
    ) as never;
    this.#draw();
  }

  /** Index of the slice that is shown. */
  get index(): number {
    return this.#index;
  }

  /** Shows a slice. */
  goTo(index: number): void {
    if (!this.#grid || !this.#slices) return;
    const { axis, count } = this.#slices;
    const at = [...this.voxel] as [number, number, number];
    at[axis] = Math.max(0, Math.min(count - 1, index));
    this.#niivue.scene.crosshairPos = this.#fraction(this.#grid.toDrawn(at)) as never;
    this.#niivue.createOnLocationChange();
    this.#draw();
  }

  /** The voxel at the cross of the planes. */
  get voxel(): Voxel {
    const { shape } = this.#grid!;
    const [x, y, z] = this.#niivue.scene.crosshairPos as unknown as number[];
    return this.#grid!.toVoxel(this.#voxelAt([x, y, z], shape));
  }

  /** Draws the labels that changed and the prompts. */
  update({ changed, objects }: Pick<Update, "changed" | "objects">): void {
    this.#objects = objects;
    if (!this.#grid || !this.#slices) return;
    const { axis, window } = this.#slices;
    const { first, step } = this.#grid.steps();
    const [column, row] = [0, 1, 2].filter((other) => other !== axis);
    for (const { index, labels } of changed) {
      for (let y = 0; y < window.height; y++) {
        let at = first + index * step[axis] + (window.y + y) * step[row] + window.x * step[column];
        for (let x = 0; x < window.width; x++, at += step[column]) {
          this.#labels[at] = labels[y * window.width + x];
        }
      }
    }
    if (changed.length > 0) this.#refresh();
    this.#draw();
  }

  /** Outlines the truth in the planes that the model is shown; null for none. */
  setTruth(drawn: Float32Array | null): void {
    this.#edge = drawn && this.#outline(drawn);
    this.#refresh();
    this.#draw();
  }

  /** Voxels of a mask with one beside them, in the plane, that is not of it. */
  #outline(mask: Float32Array): Uint8Array {
    const { axis } = this.#slices!;
    const { shape } = this.#grid!;
    const drawn = this.#grid!.drawnAxis(axis);
    const strides = [1, shape[0], shape[0] * shape[1]];
    const across = [0, 1, 2].filter((other) => other !== drawn);
    return Uint8Array.from(mask, (value, at) => {
      if (value === 0) return 0;
      return Number(across.some((other) => {
        const place = Math.floor(at / strides[other]) % shape[other];
        return place === 0 || place === shape[other] - 1 || mask[at - strides[other]] === 0 ||
          mask[at + strides[other]] === 0;
      }));
    });
  }

  #refresh(): void {
    const niivue = this.#niivue;
    const edge = this.#edge;
    niivue.drawBitmap = edge
      ? this.#labels.map((label, at) => edge[at] ? TRUTH : label)
      : this.#labels;
    niivue.refreshDrawing(false);
  }

  #draw(): void {
    if (this.#grid) this.#niivue.drawScene();
    this.#drawMarks();
  }

  #moved(): void {
    if (!this.#grid || !this.#slices) return;
    const index = this.voxel[this.#slices.axis];
    if (index !== this.#index) this.#onSlice(this.#index = index);
    requestAnimationFrame(() => this.#drawMarks());
  }

  #fraction(drawn: Voxel): number[] {
    return drawn.map((n, i) => (n + 0.5) / this.#grid!.shape[i]);
  }

  #voxelAt(fraction: readonly number[], shape: Voxel): Voxel {
    const at = fraction.map((part, i) =>
      Math.max(0, Math.min(shape[i] - 1, Math.floor(part * shape[i])))
    );
    return at as unknown as Voxel;
  }

  /** The voxel under the pointer; null if there is none, as in 3D. */
  #under({ clientX, clientY }: MouseEvent): { voxel: Voxel; type: number } | null {
    if (!this.#grid) return null;
    const { left, top } = this.#stage.getBoundingClientRect();
    const dpr = this.#niivue.uiData.dpr ?? 1;
    const at = [dpr * (clientX - left), dpr * (clientY - top)];
    const tile = this.#niivue.tileIndex(at[0], at[1]);
    const type = this.#niivue.screenSlices[tile]?.axCorSag ?? SLICE_TYPE.RENDER;
    const fraction = [...this.#niivue.canvasPos2frac(at)];
    if (type > SLICE_TYPE.SAGITTAL || fraction[0] < 0) return null;
    return { voxel: this.#grid.toVoxel(this.#voxelAt(fraction, this.#grid.shape)), type };
  }

  /** True of the plane that the model is shown. */
  #isOwn(type: number): boolean {
    return type === ACROSS[this.#grid!.drawnAxis(this.#slices!.axis)];
  }

  #listen(): void {
    const stage = this.#stage;
    let start: { event: PointerEvent; voxel: Voxel; isBox: boolean } | null = null;
    const moved = (event: PointerEvent) =>
      Math.hypot(event.clientX - start!.event.clientX, event.clientY - start!.event.clientY);
    stage.addEventListener("pointerdown", (event) => {
      start = null;
      this.#showCross(false);
      const found = this.isLocked ? null : this.#under(event);
      if (!found || event.button === 1) return;
      const isBox = this.drawsBoxes && event.button === 0 && this.#isOwn(found.type);
      start = { event, voxel: found.voxel, isBox };
      if (isBox) stage.setPointerCapture(event.pointerId);
    }, { capture: true });
    stage.addEventListener("pointermove", (event) => {
      if (start?.isBox) this.#drawBand(start.event, event);
    }, { capture: true });
    stage.addEventListener("pointerup", (event) => {
      const began = start;
      if (!began) return;
      const distance = moved(event);
      start = null;
      this.#drawMarks();
      if (began.isBox) {
        const end = this.#under(event);
        if (distance > SLACK && end) {
          this.#onGesture({ kind: "box", from: began.voxel, to: end.voxel });
        }
      } else if (distance <= SLACK && !this.drawsBoxes) {
        this.#onGesture({
          kind: "click",
          voxel: began.voxel,
          isSecondary: began.event.button === 2,
        });
      }
    }, { capture: true });
    stage.addEventListener("pointercancel", () => start = null, { capture: true });
    // NiiVue would move the cross while a box is drawn.
    for (
      const type of ["mousedown", "mousemove", "mouseup", "touchstart", "touchmove", "touchend"]
    ) {
      stage.addEventListener(type, (event) => {
        if (start?.isBox) event.stopPropagation();
      }, { capture: true });
    }
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    // NiiVue has keys of its own, which know nothing of the page's.
    for (const type of ["keydown", "keyup"]) {
      stage.addEventListener(type, (event) => event.stopPropagation(), { capture: true });
    }
    stage.addEventListener("dblclick", (event) => event.stopPropagation(), { capture: true });
  }

  /** The box that is being drawn. */
  #drawBand(from: PointerEvent, to: PointerEvent): void {
    const { left, top } = this.#stage.getBoundingClientRect();
    const x = Math.min(from.clientX, to.clientX) - left;
    const y = Math.min(from.clientY, to.clientY) - top;
    this.#marks.replaceChildren(
      rectangle(
        "band",
        x,
        y,
        Math.abs(to.clientX - from.clientX),
        Math.abs(to.clientY - from.clientY),
      ),
    );
  }

  /** Draws the prompts of the slice that is shown. */
  #drawMarks(): void {
    if (!this.#grid || !this.#slices || this.#view === "solid") {
      this.#marks.replaceChildren();
      return;
    }
    const { axis, window } = this.#slices;
    const [column, row] = [0, 1, 2].filter((other) => other !== axis);
    const type = ACROSS[this.#grid.drawnAxis(axis)];
    /** Place on the stage of a place in the slice, by pixels from its corner. */
    const place = (x: number, y: number): [number, number] | null => {
      const at = [0, 0, 0] as [number, number, number];
      at[axis] = this.#index;
      at[column] = window.x + x - 0.5;
      at[row] = window.y + y - 0.5;
      const found = this.#niivue.frac2canvasPosWithTile(
        this.#fraction(this.#grid!.toDrawn(at)) as never,
        type,
      );
      const dpr = this.#niivue.uiData.dpr ?? 1;
      return found && [found.pos[0] / dpr, found.pos[1] / dpr];
    };
    const marks: SVGElement[] = [];
    for (const { prompts, isUnprompted } of this.#objects) {
      for (const { index, prompt: { box, points = [] } } of prompts) {
        if (index !== this.#index) continue;
        const corners = box && !isUnprompted ? [place(box[0], box[1]), place(box[2], box[3])] : [];
        const [a, b] = corners;
        if (a && b) {
          const [x, y] = [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
          for (const name of ["shade", "box"]) {
            marks.push(rectangle(name, x, y, Math.abs(b[0] - a[0]), Math.abs(b[1] - a[1])));
          }
        }
        for (const { x, y, label } of points) {
          const at = place(x + 0.5, y + 0.5);
          if (at) marks.push(circle(label === 1 ? "object" : "background", ...at));
        }
      }
    }
    this.#marks.replaceChildren(...marks);
  }
}

function shape(tag: string, className: string, values: Record<string, number>): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  element.setAttribute("class", className);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value.toFixed(1));
  return element;
}

const rectangle = (name: string, x: number, y: number, width: number, height: number) =>
  shape("rect", name, { x, y, width, height });

const circle = (name: string, cx: number, cy: number) => shape("circle", name, { cx, cy, r: 5 });
