// The page's worker: it holds the device, the model and the scan, and answers the page's questions in turn.
import { excerpt, InputError, isOutOfMemory } from "../errors.ts";
import type { Converter, StartConverter } from "../formats/dicom.ts";
import { OutOfDeviceMemory } from "../gpu/device_errors.ts";
import { Gpu } from "../gpu/gpu.ts";
import { readAdapter, readScan, readTruth } from "./dropped.ts";
import {
  type Ask,
  type FromWorker,
  LOST,
  NO_HOST_MEMORY,
  type ProgressEvent,
  type Question,
  type Questions,
  type ToWorker,
} from "./protocol.ts";
import { Session } from "./session.ts";
import { loadWeights } from "./weights.ts";

/** The scope of a worker, as far as it is used here. */
const scope = globalThis as unknown as {
  postMessage(message: FromWorker, transfer?: Transferable[]): void;
  onmessage: (event: MessageEvent<ToWorker>) => void;
};

/** Answers by their questions. */
type Answers = {
  [Q in Question]: (
    value: Parameters<Questions[Q]>[0],
  ) => Promise<ReturnType<Questions[Q]>> | ReturnType<Questions[Q]>;
};

const NO_WEBGPU =
  "This browser gives no access to WebGPU, which the model computes on: open the page in a current Chrome, Edge " +
  "or Safari, or in Firefox 141 or later; on Linux Chrome may need chrome://flags/#enable-unsafe-webgpu. " +
  "A page that does not come from this machine must come by https.";

const NO_DEVICE =
  "restart the browser, update it and the driver of the graphics device, or open the page in another browser.";

const NO_MEMORY =
  "The graphics device has no memory left for this: save the masks that you have, close other pages and programs " +
  "that use it and reload this page, or start ./run view with a smaller --side.";

let session: Session | null = null;
let stop = new AbortController();
let isLost = false;

function tell(progress: ProgressEvent): void {
  scope.postMessage({ progress });
}

/** The session, once the model is loaded. */
function open(): Session {
  if (session) return session;
  throw new InputError("the model is not loaded: reload the page");
}

/** Starts dcm2niix, which lies beside this program. */
const startConverter: StartConverter = async (options) => {
  const url = new URL("./dcm2niix.jpeg.js", import.meta.url).href;
  const { default: start } = await import(url) as {
    default: (options: object) => Promise<Converter>;
  };
  return await start(options);
};

const answers: Answers = {
  start: async (site) => {
    if (!navigator.gpu || !await navigator.gpu.requestAdapter()) throw new InputError(NO_WEBGPU);
    tell({ label: "Loading the model", share: 0 });
    const weights = await loadWeights(
      site,
      (share) => tell({ label: "Loading the model", share }),
    );
    tell({ label: "Starting the graphics device", share: null });
    const gpu = await Gpu.open().catch((error) => {
      const reason = excerpt(String(error.message ?? error));
      throw new InputError(`The graphics device cannot be opened (${reason}): ${NO_DEVICE}`);
    });
    gpu.device.lost.then(() => {
      isLost = true;
      scope.postMessage({ end: LOST });
    });
    session = await Session.start(gpu, { ...site, weights });
    return { device: gpu.info.name || gpu.info.vendor, isCpu: gpu.info.type === "CPU" };
  },
  adapter: async (chosen) => {
    const name = chosen?.name ?? "none";
    tell({ label: "Changing the adapter", share: null });
    const adapter = chosen && await readAdapter(chosen.files, excerpt(name));
    return await open().useAdapter(adapter, name);
  },
  scan: async ({ files, series, largest }) => {
    tell({ label: "Reading the scan", share: null });
    const found = await readScan(files, { series, start: startConverter });
    return "series" in found ? found : open().openScan(found.volume, { name: found.name, largest });
  },
  truth: async (files) => open().setTruth(files && await readTruth(files)),
  prepare: async (index) => {
    const start = performance.now();
    tell({ label: "Encoding the slice", share: null });
    await open().prepare(index);
    return { milliseconds: performance.now() - start };
  },
  prompt: async (prompt) => {
    const start = performance.now();
    const update = await open().prompt(prompt);
    return { ...update, milliseconds: performance.now() - start };
  },
  propagate: async () => {
    stop = new AbortController();
    const { signal } = stop;
    let slices = 0;
    const update = await open().propagate({
      signal,
      onSlice: (index, share) =>
        tell({ label: `Spreading: slice ${index + 1}, ${++slices} done`, share }),
    });
    return { ...update, isStopped: signal.aborted };
  },
  accept: () => open().accept(),
  choose: (id) => open().choose(id),
  remove: (id) => open().remove(id),
  undo: () => open().undo(),
  mask: async () => {
    const { name, bytes } = open().mask();
    const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
    return { name, bytes: new Uint8Array(await new Response(packed).arrayBuffer()) };
  },
  table: () => open().table(),
  logits: (index) => open().logits(index),
};

/** A sentence for an error. */
function sentenceOf(error: unknown): string {
  if (isLost) return LOST;
  if (error instanceof OutOfDeviceMemory) return NO_MEMORY;
  if (error instanceof InputError) return error.message;
  if (isOutOfMemory(error)) return NO_HOST_MEMORY;
  const reason = error instanceof Error ? error.message : String(error);
  console.error(error);
  return `This went wrong in the program (${
    excerpt(reason)
  }): reload the page, and report it if it happens again.`;
}

async function answer({ id, question, value }: Ask): Promise<void> {
  try {
    const found = await (answers[question] as (value: unknown) => unknown)(value);
    const drawn = (found as { drawn?: Float32Array<ArrayBuffer> } | null)?.drawn;
    scope.postMessage({ id, answer: found }, drawn ? [drawn.buffer] : []);
  } catch (error) {
    scope.postMessage({ id, error: sentenceOf(error) });
  }
}

let last: Promise<void> = Promise.resolve();

scope.onmessage = ({ data }) => {
  if (data === "stop") stop.abort();
  else last = last.then(() => answer(data));
};
