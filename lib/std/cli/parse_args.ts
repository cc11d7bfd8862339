import { parseArgs as tokenize } from "node:util";

/** One name or several. */
export type Names<Name extends string> = Name | readonly Name[];

/** Options of `parseArgs`: the flags that it may meet. */
export interface ParseOptions<
  Booleans extends string = string,
  Strings extends string = string,
  Collected extends string = string,
  Negatables extends string = string,
  Defaults extends Record<string, unknown> = Record<string, unknown>,
  DoubleDash extends boolean = boolean,
> {
  /** True if what follows `--` goes to the result's `"--"` rather than to its `_`. */
  "--"?: DoubleDash;
  /** Other names for an option; a value given under one name is found under all. */
  alias?: Readonly<Record<string, string | readonly string[]>>;
  /** Options that are true or false, false by default; `true`: all long options without a `=`. */
  boolean?: boolean | Names<Booleans>;
  /** Values of the options that are not given. */
  default?: Defaults;
  /** True if everything from the first argument that is not an option on goes to `_`. */
  stopEarly?: boolean;
  /** Options whose values stay strings; other values that look like numbers become numbers. */
  string?: Names<Strings>;
  /** Options that may be given several times; their values make an array, empty by default. */
  collect?: Names<Collected>;
  /** Options that `--no-<name>` sets to false. */
  negatable?: Names<Negatables>;
  /**
   * Called for every option that is in neither `boolean` nor `string` nor `alias`, and for every
   * argument that is not an option (then without `key`); what it returns false for is left out.
   */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** The type of a string option's value. */
export type StringValue<Name, Collected, Negatables, Defaults> =
  | (Name extends Collected ? string[]
    : Name extends keyof Defaults ? string | Defaults[Name]
    : string | undefined)
  | (Name extends Negatables ? false : never);

/** The type of a boolean option's value. */
export type BooleanValue<Name, Collected, Defaults> = Name extends Collected ? boolean[]
  : Name extends keyof Defaults ? boolean | Defaults[Name]
  : boolean;

/** The parsed options by name, `_` for the other arguments and `"--"` if asked for. */
export type Args<
  Booleans extends string = never,
  Strings extends string = never,
  Collected extends string = never,
  Negatables extends string = never,
  Defaults extends Record<string, unknown> = Record<never, never>,
  DoubleDash extends boolean = false,
> =
  & ([Booleans | Strings | Collected] extends [never]
    // deno-lint-ignore no-explicit-any
    ? Record<string, any>
    :
      & Record<string, unknown>
      & { [Name in Booleans]: BooleanValue<Name, Collected, Defaults> }
      & { [Name in Strings]: StringValue<Name, Collected, Negatables, Defaults> }
      & { [Name in Exclude<Collected, Booleans | Strings>]: unknown[] }
      & Omit<Defaults, Booleans | Strings>)
  & { _: Array<string | number> }
  & (DoubleDash extends true ? { "--": string[] } : Record<never, never>);

const NUMBER = /^(0x[0-9a-f]+|[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)$/i;

function toNumber(text: string): string | number {
  return NUMBER.test(text) ? Number(text) : text;
}

/** The names with all their aliases. */
function withAliases(
  names: boolean | string | readonly string[] | undefined,
  aliases: Map<string, Set<string>>,
): Set<string> {
  const list = typeof names === "string" ? [names] : Array.isArray(names) ? names : [];
  return new Set(list.flatMap((name) => [name, ...(aliases.get(name) ?? [])]));
}

/** Every name of an option that has several, mapped to all of them. */
function groupAliases(alias: ParseOptions["alias"]): Map<string, Set<string>> {
  const groups = new Map<string, Set<string>>();
  for (const [name, others] of Object.entries(alias ?? {})) {
    const group = new Set([name, ...(typeof others === "string" ? [others] : others)]);
    for (const member of group) groups.set(member, group);
  }
  return groups;
}

/**
 * Parses command-line arguments as `@std/cli` does: `--name value`, `--name=value`, `--flag`,
 * `--no-flag` where negatable, groups of one-letter flags, `--` before what is not to be parsed.
 * Unlike the original, names with dots stay flat and a one-letter option takes its value from the
 * next argument only (`-n 5`, not `-n5`).
 *
 * @example
 * ```ts
 * import { parseArgs } from "@std/cli/parse-args";
 *
 * const options = parseArgs(["--rank", "16", "--verbose", "brain.nii"], {
 *   string: ["rank"],
 *   boolean: ["verbose"],
 * });
 * console.log(options.rank, options.verbose, options._); // 16 true [ "brain.nii" ]
 * ```
 */
export function parseArgs<
  Booleans extends string = never,
  Strings extends string = never,
  Collected extends string = never,
  Negatables extends string = never,
  Defaults extends Record<string, unknown> = Record<never, never>,
  DoubleDash extends boolean = false,
>(
  args: string[],
  options: ParseOptions<Booleans, Strings, Collected, Negatables, Defaults, DoubleDash> = {},
): Args<Booleans, Strings, Collected, Negatables, Defaults, DoubleDash> {
  const aliases = groupAliases(options.alias);
  const booleans = withAliases(options.boolean, aliases);
  const strings = withAliases(options.string, aliases);
  const collected = withAliases(options.collect, aliases);
  const negatables = withAliases(options.negatable, aliases);
  const allBooleans = options.boolean === true;
  const unknown = options.unknown ?? (() => true);

  const values = new Map<string, unknown>();
  const positionals: Array<string | number> = [];
  const afterDashes: string[] = [];

  function set(name: string, value: string | boolean, arg: string, collect = true): void {
    const declared = booleans.has(name) || strings.has(name) || aliases.has(name) ||
      (allBooleans && /^--[^=]+$/.test(arg));
    if (!declared && unknown(arg, name, value) === false) return;
    const typed = typeof value === "string" && !strings.has(name) ? toNumber(value) : value;
    for (const key of aliases.get(name) ?? [name]) {
      const before = values.get(key);
      if (!collect || !collected.has(key)) values.set(key, typed);
      else values.set(key, Array.isArray(before) ? [...before, typed] : [typed]);
    }
  }

  const { tokens } = tokenize({ args, strict: false, allowPositionals: true, tokens: true });
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  let consumed = -1; // the index of the last argument that was taken as the value before it
  for (const [position, token] of tokens.entries()) {
    if (token.index <= consumed || token.kind === "option-terminator") continue;
    const arg = args[token.index];
    if (token.kind === "positional") {
      if (token.index > end) {
        afterDashes.push(token.value);
        continue;
      }
      if (unknown(arg) !== false) positionals.push(strings.has("_") ? arg : toNumber(arg));
      if (options.stopEarly) {
        positionals.push(...args.slice(token.index + 1, end));
        afterDashes.push(...args.slice(end + 1));
        break;
      }
      continue;
    }

    const { name } = token;
    const isLong = token.rawName.startsWith("--");
    if (token.value !== undefined) {
      set(name, booleans.has(name) ? token.value !== "false" : token.value, arg);
      continue;
    }
    const negated = isLong && name.startsWith("no-") ? name.slice(3) : undefined;
    if (negated !== undefined && negatables.has(negated)) {
      set(negated, false, arg, false);
      continue;
    }
    const next = token.index + 1 < end ? args[token.index + 1] : undefined;
    const isLastOfGroup = tokens[position + 1]?.index !== token.index;
    const isFlag = booleans.has(name) || (allBooleans && isLong);
    if (isLastOfGroup && !isFlag && next && !next.startsWith("-")) {
      consumed = token.index + 1;
      set(name, next, arg);
    } else if (isLastOfGroup && (next === "true" || next === "false")) {
      consumed = token.index + 1;
      set(name, next === "true", arg);
    } else {
      set(name, strings.has(name) ? "" : true, arg);
    }
  }

  for (const [name, value] of Object.entries(options.default ?? {})) {
    for (const key of aliases.get(name) ?? [name]) if (!values.has(key)) values.set(key, value);
  }
  for (const name of booleans) {
    if (!values.has(name)) values.set(name, collected.has(name) ? [] : false);
  }
  for (const name of strings) {
    if (!values.has(name) && collected.has(name)) values.set(name, []);
  }
  if (!options["--"]) positionals.push(...afterDashes);
  const result = {
    _: positionals,
    ...Object.fromEntries(values),
    ...(options["--"] ? { "--": afterDashes } : {}),
  };
  return result as unknown as Args<
    Booleans,
    Strings,
    Collected,
    Negatables,
    Defaults,
    DoubleDash
  >;
}
