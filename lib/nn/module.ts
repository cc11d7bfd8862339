import type { Gpu } from "../gpu/gpu.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkHostState, type HostState, type HostTensor } from "./host_state.ts";
import type { WeightSource } from "./weight_source.ts";

/** Bytes that wait in the device's queue before they are sent off: writes alone are held back until a submit. */
const SENT_BYTES = 2 ** 23;

/** Bytes that are sent off before the device is waited for, so that they do not pile up. */
const UPLOAD_BYTES = 2 ** 25;

/** Name of a module's field in PyTorch checkpoints: `mask_tokens` for `maskTokens`. */
function officialName(field: string): string {
  return field.includes("_")
    ? field
    : field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/**
 * A part of a model, as torch.nn.Module: its fields that are tensors are its weights, those that are
 * modules (or arrays of modules, `null` for entries without weights) its children. Names are the
 * paths of fields, in the spelling of PyTorch checkpoints.
 */
export abstract class Module {
  /** The device that holds the weights. */
  readonly gpu: Gpu;

  /** Weights are made without content: load or initialise them. */
  constructor(gpu: Gpu) {
    this.gpu = gpu;
  }

  /** Direct children by name; children in arrays have names like `layers.0`. */
  *namedChildren(): Iterable<[name: string, child: Module, place: Place]> {
    const fields = this as unknown as Record<string, unknown>;
    for (const field of Object.keys(fields)) {
      const value = fields[field];
      const name = officialName(field);
      if (value instanceof Module) {
        yield [name, value, (replacement) => fields[field] = replacement];
      } else if (Array.isArray(value)) {
        for (const [i, item] of value.entries()) {
          if (item instanceof Module) {
            yield [`${name}.${i}`, item, (replacement) => value[i] = replacement];
          }
        }
      }
    }
  }

  /** This module and all below it, by path. */
  *namedModules(prefix = ""): Iterable<[path: string, module: Module, place: Place | null]> {
    yield [prefix, this, null];
    for (const [name, child, place] of this.namedChildren()) {
      const path = prefix ? `${prefix}.${name}` : name;
      for (const [below, module, own] of child.namedModules(path)) {
        yield [below, module, module === child ? place : own];
      }
    }
  }

  /** All weights by path. */
  *namedParameters(prefix = ""): Iterable<[path: string, tensor: Tensor]> {
    for (const [path, module] of this.namedModules(prefix)) yield* module.#ownParameters(path);
  }

  /** The weights of this very module, by path. */
  *#ownParameters(path: string): Iterable<[path: string, tensor: Tensor]> {
    for (const [field, value] of Object.entries(this)) {
      const name = officialName(field);
      if (value instanceof Tensor) yield [path ? `${path}.${name}` : name, value];
    }
  }

  /** The weights that training changes. */
  trainableParameters(): [path: string, tensor: Tensor][] {
    return [...this.namedParameters()].filter(([, tensor]) => tensor.isParameter);
  }

  /** Reads the trainable weights into host memory, in one go: of reads one by one each would take 10 ms. */
  async trainableState(): Promise<Map<string, HostTensor>> {
    const read = async ([path, tensor]: [string, Tensor]) =>
      [path, { shape: tensor.shape, data: await tensor.data() }] as const;
    return new Map(await Promise.all(this.trainableParameters().map(read)));
  }

  /** Makes all weights trainable, or none. Returns itself. */
  setTrainable(trainable: boolean): this {
    for (const [, tensor] of this.namedParameters()) {
      tensor.setParameter(trainable);
      if (!trainable) tensor.zeroGrad();
    }
    return this;
  }

  /**
   * Fills every weight from a state dict; if it does not fit, none is changed. Returns itself.
   *
   * @param options.source Origin of the weights in the error message.
   * @throws {InputError} naming the missing, unexpected and misshapen tensors.
   */
  loadState(state: HostState, options: { source?: string } = {}): this {
    const { source = "the state dict" } = options;
    const parameters = [...this.namedParameters()];
    const shapes = new Map(parameters.map(([path, tensor]) => [path, tensor.shape]));
    checkHostState(state, shapes, { source });
    for (const [path, tensor] of parameters) tensor.write(state.get(path)!.data);
    for (const [path, module] of this.namedModules()) module.onLoad(state, path);
    return this;
  }

  /**
   * Fills every weight from a source, reading one tensor after another, so that host memory holds one
   * at a time; if names or shapes do not fit, none is changed. Returns itself.
   *
   * @throws {InputError} naming the missing, unexpected, misshapen or damaged tensors; the weights read
   * before a damaged one are then changed.
   */
  async loadFrom({ source, tensors }: WeightSource): Promise<this> {
    const parameters = [...this.namedParameters()];
    const shapes = new Map(parameters.map(([path, tensor]) => [path, tensor.shape]));
    checkHostState(tensors, shapes, { source });
    // The device may report later that it has no memory for one.
    for (const [path, { buffer }] of parameters) buffer.use ??= `weight ${path}`;
    let [waiting, sent] = [0, 0];
    for (const [path, module] of this.namedModules()) {
      const own = new Map<string, HostTensor>();
      for (const [name, tensor] of module.#ownParameters(path)) {
        const data = await tensors.get(name)!.read();
        tensor.write(data);
        own.set(name, { shape: tensor.shape, data });
        waiting += data.byteLength;
        if (waiting < SENT_BYTES) continue;
        this.gpu.device.queue.submit([]);
        sent += waiting;
        waiting = 0;
        if (sent < UPLOAD_BYTES) continue;
        await this.gpu.finish();
        sent = 0;
      }
      module.onLoad(own, path);
    }
    return this;
  }

  /**
   * Called after the weights were loaded, for modules that keep some of them on the host.
   *
   * @param _state At least the weights of this very module, without those of its children.
   */
  protected onLoad(_state: HostState, _path: string): void {}

  /** Frees all weights, and whatever the modules below computed from theirs. */
  dispose(): void {
    for (const [, child] of this.namedChildren()) child.dispose();
    for (const [, tensor] of this.namedParameters()) {
      tensor.zeroGrad();
      tensor.dispose();
    }
  }
}

/** Replaces the child that was found by another module. */
export type Place = (replacement: Module) => void;
