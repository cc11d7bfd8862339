import { InputError } from "../errors.ts";

/** Which modules are adapted and how much, by the names of PEFT's LoraConfig. */
export interface LoraTargets {
  /**
   * A list of names, each of which is the whole path of a module or its end after a dot
   * (`["attn.qkv"]`); or a string, which is a regular expression for the whole path; or
   * `"all-linear"`.
   */
  readonly target_modules: string | readonly string[];
  /** Modules that are not adapted although they are targets, named in the same ways. */
  readonly exclude_modules?: string | readonly string[] | null;
  /**
   * Of the targets in a list, those in layers of these numbers. A layer's number is the first number
   * in the path behind two names, or the one behind a name of `layers_pattern`.
   */
  readonly layers_to_transform?: number | readonly number[] | null;
  /** Names of the arrays that `layers_to_transform` counts in, such as `"blocks"`. */
  readonly layers_pattern?: string | readonly string[] | null;
  /** Ranks of their own: keys are regular expressions for a path or its end after a dot. */
  readonly rank_pattern?: Readonly<Record<string, number>>;
  /** Values of `lora_alpha` of their own, with keys like `rank_pattern`'s. */
  readonly alpha_pattern?: Readonly<Record<string, number>>;
  /** Modules that are trained as a whole beside the adapters, by the ends of their paths. */
  readonly modules_to_save?: readonly string[] | null;
}

/** Whether a module takes an adapter, with PEFT's rules. */
export function isLoraTarget(path: string, targets: LoraTargets): boolean {
  const { target_modules, exclude_modules, modules_to_save } = targets;
  if (exclude_modules && matchesName(path, exclude_modules)) return false;
  if (modules_to_save?.some((name) => expression(`(^|.*\\.)${name}($|\\..*)`).test(path))) {
    return false;
  }
  if (target_modules === "all-linear") return true;
  if (!matchesName(path, target_modules)) return false;
  return typeof target_modules === "string" || inChosenLayer(path, targets);
}

/** Whether a module is one of `modules_to_save`, by PEFT's rule: its path ends so. */
export function isSavedModule(path: string, { modules_to_save }: LoraTargets): boolean {
  return modules_to_save?.some((name) => path.endsWith(name)) ?? false;
}

/** The value of the first pattern that matches a path or its end after a dot. */
export function patternValue(
  path: string,
  pattern: Readonly<Record<string, number>> | undefined,
): number | undefined {
  for (const [key, value] of Object.entries(pattern ?? {})) {
    if (expression(`^(.*\\.)?(${key})$`).test(path)) return value;
  }
}

function matchesName(path: string, names: string | readonly string[]): boolean {
  if (typeof names === "string") return expression(`^(?:${names})$`).test(path);
  return names.some((name) => path === name || path.endsWith(`.${name}`));
}

function inChosenLayer(path: string, targets: LoraTargets): boolean {
  const layers = [targets.layers_to_transform ?? []].flat();
  if (layers.length === 0) return true;
  const patterns = [targets.layers_pattern ?? []].flat().filter((pattern) => pattern !== "");
  const expressions = patterns.length === 0
    ? ["^.*?\\.[^.]*\\.(\\d+)\\."]
    : patterns.map((pattern) => `^(?:|.*?\\.)(?:${pattern})\\.(\\d+)\\.`);
  for (const text of expressions) {
    const match = expression(text).exec(path);
    if (match) return layers.includes(Number(match.at(-1)));
  }
  return false;
}

/** A regular expression in Python's spelling, whose named groups differ. */
function expression(text: string): RegExp {
  try {
    return new RegExp(text.replaceAll("(?P<", "(?<"));
  } catch {
    throw new InputError(
      `${text} is not a regular expression: name modules in a list, such as ["attn.qkv"]`,
    );
  }
}
