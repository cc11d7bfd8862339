import { excerpt, InputError } from "../errors.ts";

/** Choice and sizes of the adapted modules, by the names that PEFT's configs share. */
export interface AdapterTargets {
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
  /** Alphas of their own, with keys like `rank_pattern`'s. */
  readonly alpha_pattern?: Readonly<Record<string, number>>;
  /** Modules that are trained as a whole beside the adapters, by the ends of their paths. */
  readonly modules_to_save?: readonly string[] | null;
}

/** True if the module at `path` takes an adapter, by PEFT's rules. */
export function isTarget(path: string, targets: AdapterTargets): boolean {
  const { target_modules, exclude_modules, modules_to_save } = targets;
  if (exclude_modules && matchesName(path, exclude_modules, { field: "exclude_modules" })) {
    return false;
  }
  const isSaved = (name: string) =>
    expression(name, { field: "modules_to_save", before: "(^|.*\\.)", after: "($|\\..*)" }).test(
      path,
    );
  if (modules_to_save?.some(isSaved)) return false;
  if (target_modules === "all-linear") return true;
  if (!matchesName(path, target_modules, { field: "target_modules" })) return false;
  return typeof target_modules === "string" || inChosenLayer(path, targets);
}

/** True if a module is one of `modules_to_save`, by PEFT's rule: its path ends so. */
export function isSavedModule(path: string, { modules_to_save }: AdapterTargets): boolean {
  return modules_to_save?.some((name) => path.endsWith(name)) ?? false;
}

/**
 * The value of the first pattern that matches a path or its end after a dot.
 *
 * @param options.field The field that holds the patterns, for messages.
 * @throws {InputError} if a pattern is not a regular expression that is read here.
 */
export function patternValue(
  path: string,
  pattern: Readonly<Record<string, number>> | undefined,
  { field = "rank_pattern or alpha_pattern" }: { field?: string } = {},
): number | undefined {
  for (const [key, value] of Object.entries(pattern ?? {})) {
    if (expression(key, { field, before: "^(.*\\.)?(", after: ")$" }).test(path)) return value;
  }
}

/** Rank and alpha that PEFT's options give the layer at `path`; PEFT's default of either is 8. */
export function sizesOf(
  path: string,
  config: Pick<Partial<AdapterTargets>, "rank_pattern" | "alpha_pattern"> & { readonly r?: number },
  alphaField: string,
): { rank: number; alpha: number } {
  const { r = 8, rank_pattern, alpha_pattern } = config;
  const alpha = (config as Readonly<Record<string, unknown>>)[alphaField] as number | undefined;
  return {
    rank: patternValue(path, rank_pattern, { field: "rank_pattern" }) ?? r,
    alpha: patternValue(path, alpha_pattern, { field: "alpha_pattern" }) ?? alpha ?? 8,
  };
}

/**
 * Reads every regular expression of targets, so that a config from a file is refused when it is read.
 *
 * @throws {InputError} naming the first that is not read here.
 */
export function checkExpressions(targets: AdapterTargets): void {
  isTarget("", { ...targets, target_modules: [] });
  const { target_modules, rank_pattern, alpha_pattern } = targets;
  if (target_modules !== "all-linear") {
    matchesName("", target_modules, { field: "target_modules" });
  }
  inChosenLayer("", { ...targets, layers_to_transform: 0 });
  patternValue("", rank_pattern, { field: "rank_pattern" });
  patternValue("", alpha_pattern, { field: "alpha_pattern" });
}

function matchesName(
  path: string,
  names: string | readonly string[],
  { field }: { field: string },
): boolean {
  if (typeof names === "string") {
    return expression(names, { field, before: "^(?:", after: ")$" }).test(path);
  }
  return names.some((name) => path === name || path.endsWith(`.${name}`));
}

function inChosenLayer(path: string, targets: AdapterTargets): boolean {
  const layers = [targets.layers_to_transform ?? []].flat();
  if (layers.length === 0) return true;
  const field = "layers_pattern";
  const patterns = [targets.layers_pattern ?? []].flat().filter((pattern) => pattern !== "");
  const expressions = patterns.length === 0
    ? [/^.*?\.[^.]*\.(\d+)\./]
    : patterns.map((pattern) =>
      expression(pattern, { field, before: "^(?:|.*?\\.)(?:", after: ")\\.(\\d+)\\." })
    );
  for (const pattern of expressions) {
    const match = pattern.exec(path);
    if (match) return layers.includes(Number(match.at(-1)));
  }
  return false;
}

/**
 * The parts of a regular expression in Python's spelling: flags at its start, escapes, sets, the
 * beginnings of groups, quantifiers, single characters.
 */
const PARTS =
  /^\(\?i\)|\\[^]|\[\^?(?:\\[^]|[^\]\\])+\]|\(\?P=\w+\)|\(\?P?<\w+>|\((?:\?(?:[:=!]|<[=!]))?|(?:[*+?]|\{\d*,?\d*\})\??|[^]/g;

/** Python's spellings that JavaScript has others for. */
const SPELLINGS: Readonly<Record<string, string>> = { "(?i)": "", "\\A": "^", "\\Z": "$" };

/** Escaped letters that mean the same in both languages; JavaScript takes others as the letter. */
const ESCAPED_LETTER = /^\\(?![bBdDsSwWfnrtvxu])[A-Za-z]/;

/**
 * So many quantifiers, those that PEFT puts round an expression among them, take seconds at worst on
 * the paths of a model, each further one tenfold.
 */
const MOST_QUANTIFIERS = 5;

/** Letters of an expression; the engine gives up on longer ones when they are first used. */
const LONGEST_EXPRESSION = 1000;

/**
 * A regular expression in Python's spelling, between what PEFT puts round it. A leading `(?i)`, `\A`,
 * `\Z` and named groups are translated.
 *
 * The pattern may come from a file, and JavaScript's engine tries all the ways to match. So a repeated
 * group with a quantifier or an alternative in it, such as `(a+)+`, whose ways double with each
 * character, is refused, and so are more than five quantifiers or a thousand letters.
 */
function expression(
  pattern: string,
  { field, before, after }: { field: string; before: string; after: string },
): RegExp {
  const refuse = (reason: string): never => {
    throw new InputError(
      `${field} "${excerpt(pattern)}" ${reason}: name modules in a list, such as ["attn.qkv"]`,
    );
  };
  if (pattern.length > LONGEST_EXPRESSION) refuse(`has ${pattern.length} letters`);
  const parts = pattern.match(PARTS) ?? [];
  const groups = [{ varies: false }];
  let closed: { varies: boolean } | null = null; // the group that the part before this one ended
  let quantifiers = `${before}${after}`.match(/[^\\(][*+]/g)?.length ?? 0;
  for (const part of parts) {
    const group = groups.at(-1)!;
    const repeated = closed;
    closed = null;
    if (part === "(?i)" || part.startsWith("(?P=")) continue;
    if (part.startsWith("(")) groups.push({ varies: false });
    else if (part === ")" && groups.length > 1) {
      closed = groups.pop()!;
      if (closed.varies) groups.at(-1)!.varies = true;
    } else if (part === "|") group.varies = true;
    else if (/^([*+?]|\{\d*,?\d*\})/.test(part)) {
      if (repeated?.varies && !part.startsWith("?")) {
        refuse("repeats a group that itself repeats or has alternatives, which may take forever");
      }
      if (++quantifiers > MOST_QUANTIFIERS) {
        refuse(
          `has more than ${MOST_QUANTIFIERS} quantifiers, with PEFT's own, which may take forever`,
        );
      }
      group.varies = true;
    }
  }
  try {
    if (parts.some((part) => !(part in SPELLINGS) && ESCAPED_LETTER.test(part))) throw new Error();
    const own = parts.map((part) =>
      SPELLINGS[part] ??
        part.replace(/^\(\?P</, "(?<").replace(/^\(\?P=(\w+)\)$/, "\\k<$1>")
          .replace(/^\{,(?=\d)/, "{0,")
    ).join("");
    new RegExp(own); // alone, so that no parenthesis pairs with one of PEFT's
    const whole = new RegExp(before + own + after, parts[0] === "(?i)" ? "i" : "");
    whole.test(""); // the engine reads it only now
    return whole;
  } catch {
    return refuse("is not a regular expression that is read here");
  }
}
