import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import type { LoraConfig } from "./lora.ts";
import { isPissa, type LoraInit } from "./lora_init.ts";
import { checkExpressions } from "./lora_targets.ts";

/**
 * The content of PEFT's `adapter_config.json` for LoRA. The fields that say what is computed are
 * named here; all others are kept as they are.
 */
export interface AdapterConfig extends LoraConfig {
  /** Always "LORA". */
  readonly peft_type: "LORA";
  /** Rank. */
  readonly r: number;
  /** The update is scaled by lora_alpha / r. */
  readonly lora_alpha: number;
  /** Any other field. */
  readonly [field: string]: unknown;
}

const count = v.pipe(v.number(), v.integer(), v.minValue(1));
const finite = v.pipe(v.number(), v.finite());
const names = v.union([v.string(), v.array(v.string())]);
const layers = v.union([v.number(), v.array(v.number())]);

const schema = v.looseObject({
  peft_type: v.literal("LORA"),
  r: count,
  lora_alpha: finite,
  lora_dropout: v.optional(v.pipe(v.number(), v.minValue(0), v.ltValue(1)), 0),
  target_modules: names,
  exclude_modules: v.nullish(names),
  layers_to_transform: v.nullish(layers),
  layers_pattern: v.nullish(names),
  rank_pattern: v.optional(v.record(v.string(), count), {}),
  alpha_pattern: v.optional(v.record(v.string(), finite), {}),
  modules_to_save: v.nullish(v.array(v.string())),
  use_rslora: v.optional(v.boolean(), false),
  use_dora: v.optional(v.boolean(), false),
  init_lora_weights: v.optional(v.union([v.boolean(), v.string()]), true),
});

/** Starts that leave the base weight as it is, so that they do not matter once A and B are loaded. */
const HARMLESS_STARTS = ["gaussian", "eva", "orthogonal"];

/** Fields that change what is computed in ways that are not known here, unless they hold these. */
const NOT_SUPPORTED: readonly (readonly [field: string, harmless: readonly unknown[]])[] = [
  ["bias", ["none"]],
  ["fan_in_fan_out", [false]],
  ["lora_bias", [false]],
  ["layer_replication", []],
  ["target_parameters", []],
  ["trainable_token_indices", []],
  ["alora_invocation_tokens", []],
  ["arrow_config", []],
  ["kasa_config", []],
  ["monteclora_config", []],
  ["velora_config", []],
  ["use_bdlora", [false]],
  ["use_qalora", [false]],
];

/**
 * Reads the text of an `adapter_config.json`. Fields that a version of PEFT lacks get PEFT's defaults;
 * fields that are unknown here are kept.
 *
 * @param options.source The file's name, for the message.
 * @throws {InputError} if it is no such file, or asks for what is not supported.
 */
export function parseAdapterConfig(text: string, { source }: { source: string }): AdapterConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InputError(`${source} is not JSON: get the adapter's folder again`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InputError(`${source} is not the config of a LoRA adapter: get the folder again`);
  }
  const result = v.safeParse(schema, value);
  if (!result.success) {
    const [issue] = result.issues;
    const reason = issue.received === "undefined" ? "it is missing" : issue.message.toLowerCase();
    throw new InputError(
      `${source}: ${excerpt(v.getDotPath(issue) ?? "the whole")} is not valid ` +
        `(${excerpt(reason)}): give the config of a LoRA adapter`,
    );
  }
  const config = result.output;
  for (const [field, harmless] of NOT_SUPPORTED) {
    const given = config[field];
    if (given == null || harmless.includes(given)) continue;
    throw new InputError(
      `${source} sets ${field} to ${
        typeof given === "object" ? "a list or an object" : excerpt(JSON.stringify(given))
      }, which is not supported: ` +
        `use an adapter without it`,
    );
  }
  const start = config.init_lora_weights;
  if (typeof start === "string" && !isPissa(start as LoraInit)) {
    if (!HARMLESS_STARTS.includes(start.toLowerCase())) {
      throw new InputError(
        `${source} sets init_lora_weights to "${
          excerpt(start)
        }", which changes the base weights in a way ` +
          `that is not supported: convert the adapter to plain LoRA with PEFT first`,
      );
    }
  }
  try {
    checkExpressions(config);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(`${source}: ${error.message}`);
  }
  return config as unknown as AdapterConfig;
}

/**
 * The text of an `adapter_config.json` as PEFT writes it: fields sorted, indented by two, everything
 * but ASCII escaped.
 */
export function formatAdapterConfig(config: AdapterConfig): string {
  return pythonJson(config, "", "");
}

/** Fields that Python holds as floats: they are written with a point. */
const FLOATS = ["lora_dropout"];

function pythonJson(value: unknown, indent: string, field: string): string {
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    const items = value.map((item) => inner + pythonJson(item, inner, ""));
    return `[\n${items.join(",\n")}\n${indent}]`;
  }
  if (typeof value === "object" && value !== null) {
    const keys = Object.keys(value).filter((key) =>
      (value as Record<string, unknown>)[key] !== undefined
    ).sort();
    if (keys.length === 0) return "{}";
    const items = keys.map((key) =>
      `${inner}${escaped(key)}: ${pythonJson((value as Record<string, unknown>)[key], inner, key)}`
    );
    return `{\n${items.join(",\n")}\n${indent}}`;
  }
  if (typeof value === "string") return escaped(value);
  if (Number.isInteger(value) && FLOATS.includes(field)) return `${value}.0`;
  return JSON.stringify(value);
}

function escaped(text: string): string {
  return JSON.stringify(text).replaceAll(
    /[^ -~]/g, // per UTF-16 unit, as Python escapes
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The fields of a new config: those that PEFT has had since version 0.9, with its defaults. */
export function newAdapterConfig(
  fields: Partial<AdapterConfig> & { r: number; lora_alpha: number },
): AdapterConfig {
  return {
    alpha_pattern: {},
    auto_mapping: null,
    base_model_name_or_path: null,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_dropout: 0,
    modules_to_save: null,
    peft_type: "LORA",
    rank_pattern: {},
    revision: null,
    target_modules: [],
    task_type: null,
    use_dora: false,
    use_rslora: false,
    ...fields,
  };
}
