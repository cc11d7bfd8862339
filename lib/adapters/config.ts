import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import { LARGEST } from "../nn/host_state.ts";
import type { AdapterConfig } from "./method.ts";
import { methodOf, METHODS } from "./methods.ts";
import { checkExpressions } from "./targets.ts";

const count = v.pipe(v.number(), v.integer(), v.minValue(1));
const finite = v.pipe(v.number(), v.finite());
const names = v.union([v.string(), v.array(v.string())]);

/** Fields that the configs of all methods have. */
const SHARED = {
  peft_type: v.picklist(METHODS.map(({ peftType }) => peftType)),
  r: count,
  target_modules: names,
  exclude_modules: v.nullish(names),
  layers_to_transform: v.nullish(v.union([v.number(), v.array(v.number())])),
  layers_pattern: v.nullish(names),
  rank_pattern: v.optional(v.record(v.string(), count), {}),
  alpha_pattern: v.optional(v.record(v.string(), finite), {}),
  modules_to_save: v.nullish(v.array(v.string())),
};

/** The kinds of adapters that are read, for messages. */
const KINDS = METHODS.map(({ label }) => label).join(" or ");

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
    throw new InputError(`${source} is not the config of a ${KINDS} adapter: get the folder again`);
  }
  const { peft_type: kind } = value as { peft_type?: unknown };
  if (
    typeof kind === "string" && !METHODS.some(({ peftType }) => peftType === kind.toUpperCase())
  ) {
    throw new InputError(
      `${source} is of an adapter of type ${
        excerpt(kind)
      }, which is not supported: give a ${KINDS} adapter`,
    );
  }
  const method = methodOf(validated(SHARED, value, source).peft_type);
  const config = validated({ ...SHARED, ...method.fields }, value, source) as AdapterConfig;
  const alphas = [config[method.alphaField], ...Object.values(config.alpha_pattern ?? {})];
  const absurd = alphas.find((alpha) => Math.abs(Number(alpha)) > LARGEST.adapter);
  if (absurd !== undefined) {
    throw new InputError(
      `${source}: ${method.alphaField} is ${absurd}, where sound ones stay below ${LARGEST.adapter}: ` +
        `get the folder again`,
    );
  }
  for (const [field, harmless] of method.unsupported) {
    const given = config[field];
    if (given == null || harmless.includes(given)) continue;
    throw new InputError(
      `${source} sets ${field} to ${
        typeof given === "object" ? "a list or an object" : excerpt(JSON.stringify(given))
      }, which is not supported: use an adapter without it`,
    );
  }
  try {
    method.trainedOptions(config);
    checkExpressions(config);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(`${source}: ${error.message}`);
  }
  return config;
}

function validated<E extends v.ObjectEntries>(entries: E, value: object, source: string) {
  const result = v.safeParse(v.looseObject(entries), value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const reason = issue.received === "undefined" ? "it is missing" : issue.message.toLowerCase();
  throw new InputError(
    `${source}: ${excerpt(v.getDotPath(issue) ?? "the whole")} is not valid ` +
      `(${excerpt(reason)}): give the config of a ${KINDS} adapter`,
  );
}

/**
 * The text of an `adapter_config.json` as PEFT writes it: fields sorted, indented by two, everything
 * but ASCII escaped.
 */
export function formatAdapterConfig(config: AdapterConfig): string {
  return pythonJson(config, "", "");
}

/** Fields that Python holds as floats: they are written with a point. */
const FLOATS = /_dropout$/;

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
  if (Number.isInteger(value) && FLOATS.test(field)) return `${value}.0`;
  return JSON.stringify(value);
}

function escaped(text: string): string {
  return JSON.stringify(text).replaceAll(
    /[^ -~]/g, // per UTF-16 unit, as Python escapes
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A new config: the fields that PEFT has had since version 0.9, with its defaults, and those given. */
export function newAdapterConfig(
  fields: Partial<AdapterConfig> & Pick<AdapterConfig, "peft_type" | "r">,
): AdapterConfig {
  return {
    alpha_pattern: {},
    auto_mapping: null,
    base_model_name_or_path: null,
    inference_mode: true,
    layers_pattern: null,
    layers_to_transform: null,
    modules_to_save: null,
    rank_pattern: {},
    revision: null,
    target_modules: [],
    task_type: null,
    ...methodOf(fields.peft_type).defaults,
    ...fields,
  };
}
