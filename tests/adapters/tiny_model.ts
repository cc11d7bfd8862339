import { Linear } from "../../lib/nn/linear.ts";
import { transformersName } from "../../lib/sam/names.ts";
import { Module } from "../../lib/nn/module.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";

/** Folder in which the script left what the real peft made. */
export const fixtures: string = new URL("fixtures/peft/", import.meta.url).pathname;

/** Names, shapes and Linears of the script's tiny SAM in one library. */
export interface TinyNames {
  readonly parameters: Readonly<Record<string, readonly number[]>>;
  readonly linears: readonly string[];
}

/** The same tiny SAM as segment_anything and as transformers names it. */
export const tinyNames: Readonly<Record<"segment_anything" | "transformers", TinyNames>> = JSON
  .parse(await Deno.readTextFile(`${fixtures}model.json`));

/** Values that the script computes too: a sine whose phase depends on the name. */
export function wave(name: string, count: number): Float32Array {
  const phase = [...name].reduce((sum, letter) => sum + letter.codePointAt(0)!, 0) % 97;
  return Float32Array.from(
    { length: count },
    (_, i) => 0.3 * Math.sin(12.9898 * (i + 1) + phase),
  );
}

/** A module of whatever parts it is given. */
export class Part extends Module {
  constructor() {
    super(gpu);
  }

  /** The part or weight of a name. */
  set(name: string, value: Module | Tensor): void {
    (this as unknown as Record<string, unknown>)[name] = value;
  }

  /** The part of a path, made if it is missing. */
  at(path: readonly string[]): Part {
    if (path.length === 0) return this;
    const parts = this as unknown as Record<string, Part | undefined>;
    if (!parts[path[0]]) this.set(path[0], new Part());
    return parts[path[0]]!.at(path.slice(1));
  }
}

/**
 * The tiny SAM with segment_anything's names: modules that hold weights but compute nothing, except for
 * Linears.
 *
 * @param library Whose names give the weights their values, as in the script.
 * @param options.depth Blocks of the encoder that there are.
 */
export function tinySam(
  library: "segment_anything" | "transformers",
  options: { depth?: number } = {},
): Part {
  const { parameters, linears } = tinyNames.segment_anything;
  const model = new Part();
  for (const [name, shape] of Object.entries(parameters)) {
    const block = /^image_encoder\.blocks\.(\d+)/.exec(name)?.[1];
    if (block && Number(block) >= (options.depth ?? 3)) continue;
    const path = name.split(".");
    const field = path.pop()!;
    const owner = path.join(".");
    const tensor = () => Tensor.empty(gpu, shape).keep();
    if (!linears.includes(owner)) model.at(path).set(field, tensor());
    else if (field === "weight") {
      const [outFeatures, inFeatures] = shape;
      const last = path.pop()!;
      model.at(path).set(last, new Linear(gpu, { inFeatures, outFeatures }));
    }
  }
  for (const [name, tensor] of model.namedParameters()) {
    tensor.write(
      wave(library === "transformers" ? transformersName(name) : name, tensor.size),
    );
  }
  return model;
}
