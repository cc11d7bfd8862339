import { InputError } from "../errors.ts";

/** Memory that a device was asked for. */
export interface Memory {
  /** Bytes. */
  readonly size: number;
  /** Bytes held already. */
  readonly held: number;
  /** Its content in the error message, such as `a tensor [2, 3]`. */
  readonly content: string;
}

/**
 * Errors of a device. WebGPU reports them after the call that caused them has returned, so the first
 * one is kept, and every later call on the device throws it: what a device computes after an error
 * cannot be relied on.
 */
export class DeviceErrors {
  readonly #device: GPUDevice;
  #first: Error | undefined;
  #reported: Promise<void> = Promise.resolve();

  /** Listens for the loss of the device and for errors outside of any scope. */
  constructor(device: GPUDevice) {
    this.#device = device;
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      const { error } = event as GPUUncapturedErrorEvent;
      this.fail(new Error(`the GPU refused a command: ${error.message}`));
    });
    device.lost.then(({ message }) => {
      this.fail(new Error(`the GPU device was lost: ${message || "no reason given"}`));
    });
  }

  /** Keeps an error, unless there was one before. */
  fail(error: Error): void {
    this.#first ??= error;
  }

  /** Throws the first error, if there was one. */
  check(): void {
    if (this.#first) throw this.#first;
  }

  /**
   * Runs `command` in an error scope.
   *
   * @param describe Error to keep if the command fails for a reason of that kind.
   */
  scope<T>(kind: GPUErrorFilter, describe: (reason: string) => Error, command: () => T): T {
    this.#device.pushErrorScope(kind);
    const result = command();
    // A lost device may refuse to pop; it says so by itself.
    this.#reported = this.#device.popErrorScope().then(
      (error) => {
        if (error) this.fail(describe(error.message));
      },
      () => {},
    );
    return result;
  }

  /** Waits until all that failed so far is reported: on Dawn that may be after the work is done. */
  async settle(): Promise<void> {
    await this.#reported;
  }

  /** Runs `allocate` and keeps, as an InputError, that the device has no memory for it. */
  allocate<T>(memory: () => Memory, allocate: () => T): T {
    return this.scope("out-of-memory", () => outOfMemory(memory()), allocate);
  }
}

/** The device has no memory for what it was asked for. */
export class OutOfDeviceMemory extends InputError {}

function outOfMemory({ size, held, content }: Memory): InputError {
  return new OutOfDeviceMemory(
    `the GPU has no memory for ${content}, ${mebibytes(size)}, beside the ${
      mebibytes(held)
    } held: ` +
      "take a smaller batch (--batch-size) or side (--side), or --checkpoint-activations",
  );
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
