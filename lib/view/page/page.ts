/// <reference lib="dom" />
// The page: it draws, listens and asks its worker, which does everything else.
import { isOutOfMemory } from "../../errors.ts";
import { isAdapter } from "../dropped.ts";
import { LOST, NO_HOST_MEMORY, type Site, type Update, type UserPrompt } from "../protocol.ts";
import type { Voxel } from "../display_grid.ts";
import { Asker } from "./ask.ts";
import { chosenFiles, droppedFiles, save } from "./files.ts";
import { colourOf, type Gesture, ScanCanvas, type View } from "./scan_canvas.ts";

/** Milliseconds after which a slice that is looked at is encoded. */
const REST = 300;

/** Voxels that the cross moves at a time while its key is held. */
const STRIDE = 4;

function $<T extends Element = HTMLElement>(id: string): T {
  return document.getElementById(id) as unknown as T;
}

const button = (id: string) => $<HTMLButtonElement>(id);

/** The state that the page shows. */
const state = {
  update: null as Update | null,
  /** Name of the open scan. */
  scan: null as string | null,
  count: 0,
  hasTruth: false,
  /** Chosen adapters by name; null is none. */
  adapters: new Map<string, readonly File[] | null>(),
  adapter: "",
  isSpreading: false,
  isCpu: false,
  /** Sentence on the reason why nothing can be computed any more; null while it can. */
  end: null as string | null,
};

const asker = new Asker({
  onProgress: ({ label, share }) => {
    $("veil-text").textContent = `${label} …`;
    setProgress($("veil-progress"), share);
    if (state.isSpreading) {
      setProgress($("spread-progress"), share);
      say(`${label} …`);
    } else if ($("veil").hidden) say(`${label} …`);
  },
  onEnd: end,
});

// For scripts in the browser's console, and for tests.
Object.assign(globalThis, { samlora: asker });

let canvas: ScanCanvas;

function setProgress(element: HTMLElement, share: number | null): void {
  const progress = element as HTMLProgressElement;
  if (share === null) progress.removeAttribute("value");
  else progress.value = share;
}

/** A line below the picture. */
function say(text: string): void {
  $("status").textContent = text;
}

/** A text that begins with a capital, unless it begins with a name. */
function sentence(text: string): string {
  return /^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
}

/** A sentence on something that did not work; null takes it away. */
function complain(error: unknown): void {
  const own = error instanceof Error ? error.message : String(error ?? "");
  const text = isOutOfMemory(error) ? NO_HOST_MEMORY : own;
  $("error-text").textContent = sentence(text);
  $("error").hidden = text === "";
  if (text !== "") $("error").scrollIntoView({ block: "nearest" });
}

/** Covers the picture with a sentence; null uncovers it, unless nothing can be computed any more. */
function veil(text: string | null, { isBusy = true } = {}): void {
  const shown = state.end ?? text;
  $("veil").hidden = shown === null;
  $("veil-text").textContent = shown;
  $("veil-progress").hidden = !isBusy || state.end !== null;
  if (canvas) canvas.isLocked = shown !== null;
}

/** Covers the picture for good; masks can still be saved. */
function end(text: string): void {
  state.end ??= sentence(text);
  veil(state.end);
  say("");
  for (const id of ["open-scan", "open-folder", "open-adapter", "adapter", "open-truth"]) {
    button(id).disabled = true;
  }
  showButtons();
  document.documentElement.dataset.state = "ended";
}

/** Does something that may fail, and says so if it does. */
async function attempt(work: () => Promise<void>): Promise<void> {
  complain(null);
  try {
    await work();
  } catch (error) {
    if (state.end === null) complain(error);
    say("");
  }
  document.documentElement.dataset.pending = String(asker.pending);
}

const seconds = (milliseconds: number) =>
  milliseconds < 950 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;

// ------------------------------------------------------------------------------------- showing

function show(update: Update): void {
  state.update = update;
  canvas.update(update);
  const { objects, current, canUndo } = update;
  $("no-objects").hidden = objects.length > 0;
  const buttons = () => [...$("objects").querySelectorAll("button")];
  const focused = buttons().findIndex((one) => one === document.activeElement);
  $("objects").replaceChildren(...objects.map(({ id, millilitres, slices, isUnprompted }, i) => {
    const item = document.createElement("li");
    item.className = id === current ? "current" : "";
    const name = document.createElement("button");
    name.type = "button";
    name.className = "name";
    if (id === current) name.setAttribute("aria-current", "true");
    const swatch = document.createElement("i");
    swatch.className = `swatch c${colourOf(i + 1)}`;
    const size = document.createElement("small");
    const own = slices.length === 1 ? "1 slice" : `${slices.length} slices`;
    size.textContent = slices.length === 0 ? "empty" : `${millilitres.toFixed(2)} ml, ${own}`;
    name.append(swatch, isUnprompted ? `No prompt ${i + 1}` : `Object ${i + 1}`, size);
    name.addEventListener("click", () =>
      attempt(async () => {
        show(await asker.ask("choose", id));
        if (slices.length > 0 && !slices.includes(canvas.index)) {
          canvas.goTo(slices[slices.length >> 1]);
        }
      }));
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "remove";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Remove object ${i + 1}`);
    remove.addEventListener(
      "click",
      () => attempt(async () => show(await asker.ask("remove", id))),
    );
    item.append(name, remove);
    return item;
  }));
  // Who works by keys stays in the list.
  if (focused >= 0) (buttons()[focused] ?? buttons().at(-1) ?? $("canvas")).focus();
  button("undo").disabled = !canUndo;
  showButtons();
  showDice();
}

/** True if prompts are taken. */
function isReady(): boolean {
  return state.scan !== null && !state.isSpreading && state.end === null;
}

function showButtons(): void {
  const { update, isSpreading } = state;
  const objects = update?.objects ?? [];
  button("propagate").disabled = objects.length === 0 || state.count < 2 || !isReady();
  button("propagate").hidden = state.count === 1;
  button("accept").disabled = (update?.current ?? null) === null || isSpreading;
  for (const id of ["save-mask", "save-table"]) button(id).disabled = objects.length === 0;
  button("no-prompt").disabled = !isReady();
  $("spreading").hidden = !isSpreading;
}

function showDice(): void {
  const dice = state.update?.dice ?? null;
  $("dice").hidden = !state.hasTruth;
  $("no-truth").hidden = state.hasTruth;
  $("remove-truth").hidden = !state.hasTruth;
  button("open-truth").disabled = state.scan === null || state.end !== null;
  const text = (value: number | undefined) =>
    value === undefined ? "–" : `${(100 * value).toFixed(1)} %`;
  $("dice-slice").textContent = text(dice?.slices.get(canvas.index));
  $("dice-volume").textContent = text(dice?.volume);
}

let rest: ReturnType<typeof setTimeout> | undefined;
const prepared = new Set<number>();

/** Called when another slice is shown. */
function onSlice(index: number): void {
  const slider = $<HTMLInputElement>("slice");
  slider.value = String(index);
  $("slice-text").textContent = `Slice ${index + 1} of ${state.count}`;
  slider.setAttribute("aria-valuetext", `slice ${index + 1} of ${state.count}`);
  showDice();
  clearTimeout(rest);
  rest = setTimeout(() => prepare(index), state.isCpu ? 3 * REST : REST);
}

/** Encodes the slice that is looked at, if nothing else is to be done. */
async function prepare(index: number): Promise<void> {
  if (prepared.has(index) || asker.pending > 0 || !isReady()) return;
  await attempt(async () => {
    const { milliseconds } = await asker.ask("prepare", index);
    prepared.add(index);
    if (asker.pending === 0) say(`Slice ${index + 1} is ready (${seconds(milliseconds)}).`);
  });
  if (state.end === null) document.documentElement.dataset.state = "ready";
}

// ------------------------------------------------------------------------------------- doing

const tool = () => document.querySelector<HTMLInputElement>("input[name=tool]:checked")!.value;

function check(name: string, value: string): void {
  const input = document.querySelector<HTMLInputElement>(`input[name=${name}][value=${value}]`)!;
  input.checked = true;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

function onGesture(gesture: Gesture): void {
  if (gesture.kind === "box") return void prompt(gesture);
  const label = gesture.isSecondary || tool() === "background" ? 0 : 1;
  prompt({ kind: "point", voxel: gesture.voxel, label });
}

/** First corner of a box that is drawn by keys; null if there is none. */
let corner: Voxel | null = null;

function moveCross(right: number, up: number, { repeat }: KeyboardEvent): void {
  const step = repeat ? STRIDE : 1;
  canvas.moveCross(step * right, step * up);
  say(`The cross is at voxel ${canvas.voxel.join(", ")}.`);
}

/** Prompts at the cross; a box takes two corners. */
function promptAtCross(): void {
  const voxel = canvas.voxel;
  if (tool() !== "box") return onGesture({ kind: "click", voxel, isSecondary: false });
  if (corner === null) {
    say("This is a corner of the box: move the cross to the other, and press Space.");
  } else onGesture({ kind: "box", from: corner, to: voxel });
  corner = corner === null ? voxel : null;
}

/** Says what a change brought, and what to beware of in it. */
function tell({ note, caution }: Update, otherwise: string): void {
  say([note ?? otherwise, ...caution === null ? [] : [caution]].join(" "));
}

async function prompt(value: UserPrompt): Promise<void> {
  if (!isReady()) return;
  const start = performance.now();
  await attempt(async () => {
    say("Segmenting …");
    const { milliseconds, ...update } = await asker.ask("prompt", value);
    prepared.add(canvas.index);
    show(update);
    tell(update, `Mask in ${seconds(milliseconds)}.`);
    performance.measure("click-to-mask", { start });
  });
}

async function propagate(): Promise<void> {
  if (button("propagate").disabled) return;
  state.isSpreading = true;
  setProgress($("spread-progress"), null);
  showButtons();
  await attempt(async () => {
    const { isStopped, ...update } = await asker.ask("propagate");
    state.isSpreading = false;
    show(update);
    const { slices } = update.objects.find(({ id }) => id === update.current)!;
    const found = slices.length === 1 ? "1 slice" : `${slices.length} slices`;
    tell(update, `${isStopped ? "Stopped" : "Spread"}: the object is in ${found}.`);
  });
  state.isSpreading = false;
  showButtons();
}

async function accept(): Promise<void> {
  if (button("accept").disabled) return;
  await attempt(async () => {
    show(await asker.ask("accept"));
    say("Accepted: the next click begins another object.");
  });
}

async function undo(): Promise<void> {
  if (button("undo").disabled || state.isSpreading) return;
  await attempt(async () => {
    show(await asker.ask("undo"));
    say("Taken back.");
  });
}

async function openScan(files: readonly File[], series?: string): Promise<void> {
  if (files.length === 0) return;
  if (state.isSpreading) asker.stop();
  veil("Reading the scan …");
  await attempt(async () => {
    const found = await asker.ask("scan", { files, series, largest: canvas.largest });
    if ("series" in found) {
      const chosen = await chooseSeries(found.series);
      if (chosen !== null) await openScan(files, chosen);
      return;
    }
    prepared.clear();
    state.scan = null; // until it is drawn
    state.count = found.slices.count;
    state.hasTruth = false;
    const { shape, spacing } = found;
    $("scan-name").textContent = `${found.name} · ${shape.join(" × ")} voxels of ${
      spacing.map((mm) => Number(mm.toFixed(2))).join(" × ")
    } mm`;
    $<HTMLInputElement>("slice").max = String(state.count - 1);
    document.title = `${found.name} – samlora`;
    await canvas.show(found);
    state.scan = found.name;
    for (const name of ["planes", "solid"]) {
      document.querySelector<HTMLInputElement>(`input[name=view][value=${name}]`)!.disabled =
        canvas.isFlat;
    }
    if (canvas.isFlat) check("view", "slice");
    $("slices").hidden = canvas.isFlat;
    show({
      objects: [],
      current: null,
      canUndo: false,
      changed: [],
      dice: null,
      note: null,
      caution: null,
    });
    const note = found.notes.length > 0 ? `Note: ${found.notes.join("; ")}.` : "";
    say(note);
    $("notes").textContent = note;
  });
  if (state.scan !== null) veil(null);
  else veil("Open a scan, or drop one here.", { isBusy: false });
}

async function chooseSeries(
  series: readonly { readonly id: string; readonly description: string }[],
): Promise<string | null> {
  const dialog = $<HTMLDialogElement>("series");
  const list = $<HTMLSelectElement>("series-list");
  list.replaceChildren(
    ...series.map(({ id, description }) => new Option(`${id}: ${description || "no name"}`, id)),
  );
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return dialog.returnValue === "" ? null : list.value;
}

async function openTruth(files: readonly File[] | null): Promise<void> {
  if (files?.length === 0) return;
  await attempt(async () => {
    const { drawn, update } = await asker.ask("truth", files);
    state.hasTruth = drawn !== null;
    canvas.setTruth(drawn);
    show(update);
    say(drawn ? "The white line is the truth." : "");
  });
}

const NONE = "none";

/** Lists the adapters in the chooser. */
function listAdapters(): void {
  const list = $<HTMLSelectElement>("adapter");
  const names = [...state.adapters.keys()];
  list.replaceChildren(
    ...names.map((name) => new Option(name === NONE ? "None (vanilla)" : name, name)),
  );
  list.value = state.adapter;
}

async function useAdapter(name: string): Promise<void> {
  const list = $<HTMLSelectElement>("adapter");
  list.disabled = true;
  if (state.isSpreading) asker.stop();
  const hadVeil = !$("veil").hidden;
  if (!hadVeil) veil("Changing the adapter …");
  await attempt(async () => {
    const files = state.adapters.get(name) ?? null;
    const { about, slices, update } = await asker.ask("adapter", files && { name, files });
    state.adapter = name;
    $("adapter-about").textContent = `${sentence(about)}.`;
    prepared.clear();
    if (slices) {
      state.count = slices.count;
      $<HTMLInputElement>("slice").max = String(slices.count - 1);
      canvas.setSlices(slices);
      show(update);
      say(update.note ?? "");
    }
  });
  list.disabled = state.end !== null;
  if (!state.adapters.has(state.adapter)) state.adapter = NONE;
  list.value = state.adapter;
  if (!hadVeil) veil(null);
  if (state.scan !== null) onSlice(canvas.index);
}

async function addAdapter(files: readonly File[]): Promise<void> {
  if (files.length === 0) return;
  const parts = files[0].name.split("/");
  const own = parts.length > 1
    ? parts.at(-2)!
    : parts[0].replace(/^adapter_(model|config)\.\w+$/, "adapter");
  let name = own;
  for (let n = 2; state.adapters.has(name); n++) name = `${own} (${n})`;
  const before = state.adapter;
  state.adapters.set(name, files);
  listAdapters();
  await useAdapter(name);
  if (state.adapter !== name) {
    state.adapters.delete(name);
    state.adapter = before;
    listAdapters();
  }
}

async function download(question: "mask" | "table"): Promise<void> {
  await attempt(async () => save(await asker.ask(question)));
}

// ------------------------------------------------------------------------------------- listening

function listen(): void {
  for (const input of document.querySelectorAll<HTMLInputElement>("input[name=tool]")) {
    input.addEventListener("change", () => canvas.drawsBoxes = tool() === "box");
  }
  for (const input of document.querySelectorAll<HTMLInputElement>("input[name=view]")) {
    input.addEventListener("change", () => canvas.setView(input.value as View));
  }
  const on = (id: string, work: () => unknown) => $(id).addEventListener("click", work);
  on("no-prompt", () => prompt({ kind: "none", index: canvas.index }));
  on("previous", () => canvas.goTo(canvas.index - 1));
  on("next", () => canvas.goTo(canvas.index + 1));
  on("undo", undo);
  on("accept", accept);
  on("propagate", propagate);
  on("stop", () => asker.stop());
  on("save-mask", () => download("mask"));
  on("save-table", () => download("table"));
  on("remove-truth", () => openTruth(null));
  on("error-close", () => complain(null));
  $("slice").addEventListener(
    "input",
    (event) => canvas.goTo(Number((event.target as HTMLInputElement).value)),
  );
  $("adapter").addEventListener(
    "change",
    (event) => useAdapter((event.target as HTMLSelectElement).value),
  );
  const chooser = (button: string, input: string, open: (files: File[]) => unknown) => {
    const files = $<HTMLInputElement>(input);
    on(button, () => files.click());
    files.addEventListener("change", () => open(chosenFiles(files)));
  };
  chooser("open-scan", "scan-files", openScan);
  chooser("open-folder", "folder-files", openScan);
  chooser("open-adapter", "adapter-files", addAdapter);
  chooser("open-truth", "truth-files", openTruth);
  document.addEventListener("keydown", onKey, { capture: true });
  listenToDrops();
}

/** Keys by their names, with what they do. */
const KEYS: Readonly<Record<string, (event: KeyboardEvent) => unknown>> = {
  ShiftArrowLeft: (event) => moveCross(-1, 0, event),
  ShiftArrowRight: (event) => moveCross(1, 0, event),
  ShiftArrowUp: (event) => moveCross(0, 1, event),
  ShiftArrowDown: (event) => moveCross(0, -1, event),
  " ": promptAtCross,
  ArrowUp: () => canvas.goTo(canvas.index + 1),
  ArrowDown: () => canvas.goTo(canvas.index - 1),
  PageUp: () => canvas.goTo(canvas.index + 10),
  PageDown: () => canvas.goTo(canvas.index - 10),
  p: () => check("tool", "point"),
  x: () => check("tool", "background"),
  b: () => check("tool", "box"),
  a: () => prompt({ kind: "none", index: canvas.index }),
  s: propagate,
  u: undo,
  Enter: accept,
  Escape: () => state.isSpreading ? asker.stop() : complain(null),
  1: () => check("view", "slice"),
  2: () => canvas.isFlat || check("view", "planes"),
  3: () => canvas.isFlat || check("view", "solid"),
};

function onKey(event: KeyboardEvent): void {
  const { target, key, ctrlKey, metaKey, altKey, shiftKey } = event;
  if ($<HTMLDialogElement>("series").open || state.scan === null || altKey) return;
  const isUndo = (ctrlKey || metaKey) && key.toLowerCase() === "z";
  if (!isUndo && (ctrlKey || metaKey)) return;
  const isShifted = shiftKey && key.startsWith("Arrow");
  const name = isShifted ? `Shift${key}` : key.length === 1 ? key.toLowerCase() : key;
  const element = target as HTMLElement;
  // Controls keep the keys that they are worked by.
  const isControl = element.matches?.("button, a, summary, select, input") ?? false;
  const isOwn = element.matches?.("button, summary") ? /^(Enter| )$/.test(name) : isControl;
  if (isOwn && !isUndo && !(element.matches("input") && name.length === 1 && /[a-z]/.test(name))) {
    return;
  }
  const work = isUndo ? undo : KEYS[name];
  if (!work) return;
  event.preventDefault();
  event.stopPropagation();
  work(event);
}

function listenToDrops(): void {
  const drop = $("drop");
  const zones = [...drop.querySelectorAll<HTMLElement>("[data-drop]")];
  // Captured: NiiVue keeps what is dragged over the picture to itself.
  const on = (
    type: "dragenter" | "dragover" | "dragleave" | "drop",
    work: (event: DragEvent) => void,
  ) =>
    document.addEventListener(type, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      work(event);
    }, { capture: true });
  on("dragenter", () => drop.hidden = false);
  on("dragover", ({ target }) => {
    for (const zone of zones) zone.classList.toggle("over", zone === target);
  });
  on("dragleave", ({ relatedTarget }) => {
    if (relatedTarget === null) drop.hidden = true;
  });
  on("drop", ({ target, dataTransfer }) => {
    drop.hidden = true;
    if (state.end !== null) return;
    const kind = (target as HTMLElement).dataset?.drop ?? "scan";
    attempt(async () => {
      const files = await droppedFiles(dataTransfer!);
      if (isAdapter(files)) await addAdapter(files);
      else if (kind === "truth" && state.scan !== null) await openTruth(files);
      else if (kind === "adapter") {
        throw new Error("this is no adapter: drop a PEFT folder, or a file of LoRA");
      } else await openScan(files);
    });
  });
}

// ------------------------------------------------------------------------------------- starting

/** Fetches files of the page's own server. */
async function fetchFiles(files: Site["scan"]): Promise<File[]> {
  return await Promise.all(files.map(async ({ url, name }) => {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${name} is not on the page's server: build the page again`);
    return new File([await response.arrayBuffer()], name);
  }));
}

async function start(): Promise<void> {
  veil("Starting …");
  try {
    canvas = await ScanCanvas.open($<HTMLCanvasElement>("canvas"), {
      stage: $("stage"),
      marks: $<SVGSVGElement>("marks"),
      onGesture,
      onSlice,
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return end(`This browser cannot draw the scan (${reason}): allow it WebGL 2.`);
  }
  $("canvas").addEventListener("webglcontextlost", () => end(LOST));
  canvas.isLocked = true;
  listen();
  try {
    const response = await fetch("site.json");
    if (!response.ok) throw new Error("site.json is missing: build the page again");
    const site: Site = await response.json();
    $("about").textContent = site.about ?? "";
    const { device, isCpu } = await asker.ask("start", site);
    state.isCpu = isCpu;
    $("device").textContent = `Computed on ${device}.`;
    for (const { name, files } of site.adapters) state.adapters.set(name, await fetchFiles(files));
    state.adapters.set(NONE, null);
    state.adapter = NONE;
    listAdapters();
    await useAdapter(site.adapter ?? NONE);
    if (site.scan.length > 0) await openScan(await fetchFiles(site.scan));
    else veil("Open a scan, or drop one here.", { isBusy: false });
  } catch (error) {
    end(error instanceof Error ? error.message : String(error));
  }
}

await start();
