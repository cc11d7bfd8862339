import { InputError } from "../errors.ts";
import { Linear } from "../nn/linear.ts";
import type { Module, Place } from "../nn/module.ts";
import type { Random } from "../random.ts";
import { AdapterLayer } from "./adapter_layer.ts";
import type { AdapterMethod, AdapterOptions } from "./method.ts";
import { type AdapterTargets, isSavedModule, isTarget, sizesOf } from "./targets.ts";

/** Targets of an injection that names none. */
export const DEFAULT_TARGETS: readonly string[] = ["attn.qkv"];

/**
 * Freezes a model, puts adapters into the Linears that the targets name and unfreezes the modules to
 * save.
 *
 * A rank above the smaller side of a layer is taken as it is, as PEFT takes it: the update can then
 * not be of that rank, but the adapter is trained and saved in the size asked for.
 *
 * @param model The model, or the part of it, to adapt.
 * @param method A row of the table of methods.
 * @param options Options by PEFT's names; `target_modules` is `["attn.qkv"]` by default.
 * @param options.random Draws the start values.
 * @returns the adapted layers by path.
 * @throws {InputError} if a value is not possible, a name matches nothing or the model has adapters
 *   already.
 */
export async function injectAdapter<L extends AdapterLayer, O extends AdapterOptions>(
  model: Module,
  method: AdapterMethod<L, O>,
  options: O & { readonly random: Random },
): Promise<Map<string, L>> {
  const { target_modules = DEFAULT_TARGETS, random, blocks } = options;
  const targets: AdapterTargets = { ...options, target_modules };
  checkTargets(targets);
  const sizes = (path: string) => {
    const { rank, alpha } = sizesOf(path, options, method.alphaField);
    if (Number.isInteger(rank) && rank >= 1) return { rank, alpha };
    throw new InputError(
      `a ${method.label} rank of ${rank} is not possible: give a whole number from 1 on`,
    );
  };
  sizes("");
  const linears = linearsOf(model);
  if (linears.some(({ layer }) => layer instanceof AdapterLayer)) {
    throw new InputError("the model has adapters already: build it anew for others");
  }
  const saved = savedModules(model, targets);
  const chosen = chooseBlocks(chooseTargets(linears, targets), blocks);

  // Before anything changes: what each adapter will be.
  method.check(options, chosen.map(({ path }) => path));
  const plans = chosen.map(({ path, layer, place }) => ({
    path,
    place,
    make: method.plan(layer, { path, ...sizes(path), options }),
  }));

  model.setTrainable(false);
  for (const module of saved) module.setTrainable(true);
  const adapters = new Map<string, L>();
  for (const { path, place, make } of plans) {
    // The encoder by itself and as a part of SAM start alike.
    const adapter = await make(random.fork(path.replace(/^image_encoder\./, "")));
    place(adapter);
    adapters.set(path, adapter);
  }
  return adapters;
}

/** A Linear of a model. */
interface Target {
  readonly path: string;
  readonly layer: Linear;
  /** Puts another module in its stead. */
  readonly place: Place;
}

function checkTargets({ target_modules, layers_to_transform, layers_pattern }: AdapterTargets) {
  if (typeof target_modules === "string" && layers_to_transform != null) {
    throw new InputError(
      "layers_to_transform does not go with a regular expression: name target_modules in a list",
    );
  }
  if (layers_pattern?.length && layers_to_transform == null) {
    throw new InputError(
      "layers_pattern needs layers_to_transform: name the layers, or leave it out",
    );
  }
}

/** The modules that are trained as a whole; each name must be one's. */
function savedModules(model: Module, targets: AdapterTargets): Module[] {
  const saved = [...model.namedModules()].filter(([path]) =>
    path !== "" && isSavedModule(path, targets)
  );
  const missing = targets.modules_to_save?.find((name) =>
    !saved.some(([path]) => path.endsWith(name))
  );
  if (missing === undefined) return saved.map(([, module]) => module);
  const parts = [...model.namedChildren()].map(([name]) => name);
  throw new InputError(`no module to save is named ${missing}: the model has ${parts.join(", ")}`);
}

/**
 * First module that adapters of these options would change, and null if the model has adapters already.
 *
 * @throws {InputError} as {@linkcode injectAdapter} does.
 */
export function firstTarget(
  model: Module,
  options: Pick<AdapterOptions, "target_modules" | "blocks">,
): Linear | null {
  const { target_modules = DEFAULT_TARGETS, blocks } = options;
  const linears = linearsOf(model);
  if (linears.some(({ layer }) => layer instanceof AdapterLayer)) return null;
  return chooseBlocks(chooseTargets(linears, { ...options, target_modules }), blocks)[0].layer;
}

function linearsOf(model: Module): Target[] {
  return [...model.namedModules()].flatMap(([path, module, place]): Target[] =>
    module instanceof Linear ? [{ path, layer: module, place: place! }] : []
  );
}

function chooseTargets(linears: readonly Target[], targets: AdapterTargets): Target[] {
  const chosen = linears.filter(({ path }) => isTarget(path, targets));
  if (chosen.length > 0) return chosen;
  const { target_modules, layers_to_transform } = targets;
  const known = [...new Set(linears.map(({ path }) => path.split(".").slice(-2).join(".")))];
  const free = { ...targets, layers_to_transform: null };
  if (layers_to_transform != null && linears.some(({ path }) => isTarget(path, free))) {
    throw new InputError(
      `no ${target_modules} lies in a layer ${layers_to_transform} of ` +
        `${targets.layers_pattern ?? "the model"}: choose other layers_to_transform`,
    );
  }
  const hint = typeof target_modules === "string"
    ? " (a string is a regular expression for the whole path; a list holds ends of paths)"
    : "";
  throw new InputError(
    `no Linear is named ${target_modules}${hint}: the model has ${known.join(", ")}`,
  );
}

function chooseBlocks(targets: Target[], blocks: readonly number[] | undefined): Target[] {
  if (!blocks) return targets;
  const order = [...new Set(targets.map(({ path }) => blockOf(path)))];
  const beyond = blocks.find((block) => order[block] === undefined);
  if (beyond !== undefined) {
    throw new InputError(`there is no block ${beyond}: the targets lie in ${order.length} blocks`);
  }
  const chosen = targets.filter(({ path }) => blocks.includes(order.indexOf(blockOf(path))));
  if (chosen.length === 0) throw new InputError("no block is chosen: leave blocks out for all");
  return chosen;
}

/** The block a module lies in: its path up to the last number. */
function blockOf(path: string): string {
  return path.replace(/^(.*\.\d+)\..*$/, "$1");
}
