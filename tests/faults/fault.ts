/**
 * Loaded before a program of experiments/, makes happen what the variable FAULT asks for: the one
 * place where faults are made, so that the program has no hooks for them.
 *
 * @module
 */
import process from "node:process";

/** A fault to inject; every field is optional. */
export interface Fault {
  /** Writing a file whose path matches this fails half-way, with `error`. */
  readonly write?: string;
  /** Error that the system gives then. */
  readonly error?: string;
  /** Writing a file whose path matches this never ends. */
  readonly hang?: string;
  /** When a file whose path matches this is in place, `remove`, `append`, `signal` and `hold` come about. */
  readonly after?: string;
  /** Files and folders that vanish. */
  readonly remove?: readonly string[];
  /** A file that grows by a byte. */
  readonly append?: string;
  /** A signal that the program gets. */
  readonly signal?: Deno.Signal;
  /** The program waits as long as this file is there. */
  readonly hold?: string;
  /** The program kills itself while it writes a file whose path matches `write`. */
  readonly kill?: {
    readonly write: string;
    /** Number of the file among those, counted from 1. */
    readonly nth: number;
    /** Half-way, before or after it gets its name. */
    readonly at: "half" | "before its name" | "after its name";
  };
  /** A file that gets a line for each file that is in place: milliseconds and path. */
  readonly log?: string;
  /** The gradient of this decoding, counted from 1, is not a number. */
  readonly gradient?: number;
  /** The device is lost at this submit of the process, counted from 1. */
  readonly lostAt?: number;
  /** The device has memory for so many MiB of storage buffers. */
  readonly memory?: number;
}

const fault: Fault = JSON.parse(process.env.FAULT ?? "{}");
const matches = (pattern: string | undefined, path: unknown) =>
  pattern !== undefined && new RegExp(pattern).test(String(path));
/** The name that a file written to a temporary name will have. */
const finalName = (path: unknown) => String(path).replace(/\.\d+\.\d+\.tmp$/, "");

let written = 0;
/** Ends the process where it stands, if it is the moment for it. */
async function die(at: "half" | "before its name" | "after its name"): Promise<void> {
  if (written !== fault.kill!.nth || at !== fault.kill!.at) return;
  Deno.kill(Deno.pid, "SIGKILL");
  await new Promise(() => {});
}

const { open, rename } = Deno;
Deno.open = async (path, options) => {
  const file = await open(path, options);
  if (!options?.write) return file;
  if (matches(fault.write, finalName(path))) {
    const write = file.write.bind(file);
    file.write = async (bytes) => {
      await write(bytes.subarray(0, bytes.length >> 1));
      throw new Error(fault.error ?? "No space left on device (os error 28)");
    };
  }
  if (matches(fault.kill?.write, finalName(path)) && finalName(path) !== path) {
    written++;
    const write = file.write.bind(file);
    file.write = async (bytes) => {
      const half = await write(bytes.subarray(0, (bytes.length + 1) >> 1));
      await die("half");
      return half;
    };
  }
  if (matches(fault.hang, finalName(path))) {
    file.write = () => new Promise<number>((done) => setTimeout(done, 3_600_000, 0));
  }
  return file;
};

Deno.rename = async (from, to) => {
  const killed = matches(fault.kill?.write, to);
  if (killed) await die("before its name");
  await rename(from, to);
  if (killed) await die("after its name");
  if (fault.log) {
    await Deno.writeTextFile(fault.log, `${performance.now()} ${to}\n`, { append: true });
  }
  if (!matches(fault.after, to)) return;
  for (const path of fault.remove ?? []) {
    await Deno.remove(path, { recursive: true }).catch(() => {}); // it is gone by now
  }
  if (fault.append) await Deno.writeFile(fault.append, new Uint8Array(1), { append: true });
  if (fault.signal) {
    Deno.kill(Deno.pid, fault.signal);
    await new Promise((heard) => setTimeout(heard, 100)); // by the worker that listens
  }
  while (fault.hold && await Deno.stat(fault.hold).then(() => true, () => false)) {
    await new Promise((done) => setTimeout(done, 20));
  }
};

if (fault.gradient !== undefined) {
  const { SliceModel } = await import("../../lib/evaluate/slice_model.ts");
  const { breakGradient } = await import("../train/broken_gradient.ts");
  const decodeStep = SliceModel.prototype.decodeStep;
  let decodings = 0;
  SliceModel.prototype.decodeStep = function (...args) {
    const decoded = decodeStep.apply(this, args);
    if (!decoded.logits.requiresGrad || ++decodings !== fault.gradient) return decoded;
    return { ...decoded, logits: breakGradient(decoded.logits, NaN) };
  };
}

if (fault.lostAt !== undefined) {
  let device: GPUDevice;
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...args) {
    return device = await request.apply(this, args);
  };
  let submits = 0;
  const submit = GPUQueue.prototype.submit;
  GPUQueue.prototype.submit = function (...args) {
    if (++submits === fault.lostAt) device.destroy();
    return submit.apply(this, args);
  };
}

if (fault.memory !== undefined) {
  let left = fault.memory * 2 ** 20;
  let refused = false;
  const { createBuffer, popErrorScope } = GPUDevice.prototype;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    if (descriptor.usage & GPUBufferUsage.STORAGE) {
      refused = descriptor.size > left;
      if (!refused) left -= descriptor.size;
    }
    return createBuffer.call(this, descriptor);
  };
  GPUDevice.prototype.popErrorScope = async function () {
    const error = refused ? new GPUOutOfMemoryError("none left") : null;
    refused = false;
    return await popErrorScope.call(this) ?? error;
  };
}
