/**
 * Options of commands as tables of fields. A field states its name, type, default, option, help text and
 * rights once; parser, `--help`, `--config` files and the permissions of the process come from it.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { basename } from "node:path";
import * as v from "valibot";
import { parse as parseYaml } from "yaml";
import { excerpt, InputError, shellWord } from "../errors.ts";

/** Headings of `--help all`, in the order in which they are printed. */
export const GROUPS = [
  "data",
  "model",
  "adapters",
  "training",
  "prompts",
  "scoring",
  "running",
  "cluster",
] as const;

/** Rights that the value of an option gives to the process. */
export interface Rights {
  /** Files and folders that may be read. */
  readonly read?: readonly string[];
  /** Folders that may be read and written. */
  readonly write?: readonly string[];
  /** Single files that may be written; nothing else in their folders may. */
  readonly files?: readonly string[];
  /** Hosts that may be fetched from. */
  readonly hosts?: readonly string[];
  /** Packages of native code from npm that are fetched first and may be loaded. */
  readonly packages?: readonly string[];
  /** Programs that may be run, with the whole environment. */
  readonly run?: readonly string[];
}

/** One option of a command, or one value of a `--config` file. */
export interface Field<T = unknown> {
  /** Check of a value, whose kind (number, list, choice, true or false) says how text is read. */
  readonly type: v.GenericSchema<unknown, T>;
  /** Value where none is given. */
  readonly default: T;
  /** Name of the option, without its dashes. */
  readonly flag: string;
  /** Placeholder of its value in the help text; an option of a boolean field takes none. */
  readonly argument?: string;
  /** Help text: a phrase without a full stop. */
  readonly help: string;
  /** Heading that it stands under in a long help text. */
  readonly group?: typeof GROUPS[number];
  /** True for those that most people need first. */
  readonly common?: boolean;
  /** True if the option may be repeated; the field is then a list with one item an option. */
  readonly repeated?: boolean;
  /** Second name of the option, left out of the help text. */
  readonly alias?: string;
  /** True if records written before the field existed lack it: they read as the default. */
  readonly added?: boolean;
  /** Value that such records read as where it is not the default. */
  readonly before?: T;
  /** True if a resumed run may change it. */
  readonly free?: boolean;
  /** Reads text where the type alone does not say how. */
  readonly parse?: (text: string) => unknown;
  /** Values of other fields that the same text sets. */
  readonly sets?: (text: string) => Readonly<Record<string, unknown>>;
  /** Rights that a value gives to the process. */
  rights?(value: NonNullable<T>): Rights;
}

/** Options of a command by the names of their values. */
// deno-lint-ignore no-explicit-any
export type Fields = Readonly<Record<string, Field<any>>>;

/** Values of a table of fields. */
export type Values<F extends Fields> = {
  -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never;
};

/** Values of fields where none is given. */
export function defaultsOf<F extends Fields>(fields: F): Values<F> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, { default: value }]) => [name, value]),
  ) as Values<F>;
}

/** The values that belong to a table of fields. */
export function pick<F extends Fields>(
  values: Readonly<Record<string, unknown>>,
  fields: F,
): Partial<Values<F>> {
  return Object.fromEntries(
    Object.entries(values).filter(([name]) => Object.hasOwn(fields, name)),
  ) as Partial<Values<F>>;
}

/**
 * A field whose type of value follows from its check.
 *
 * @param head Option and placeholder of its value, as the help text shows them: `axis N`.
 */
export function field<T>(
  head: string,
  help: string,
  options: Omit<Field<T>, "flag" | "argument" | "help" | "default" | "before"> & {
    readonly default: NoInfer<T>;
    readonly before?: NoInfer<T>;
  },
): Field<T> {
  const [flag, argument] = head.split(" ");
  return { flag, argument, help, ...options };
}

/** Fields that stand under one heading. */
export function grouped<F extends Fields>(group: typeof GROUPS[number], fields: F): F {
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [name, { ...field, group }]),
  ) as F;
}

/** Rights to read a file or folder. */
export const reads = (path: string): Rights => ({ read: [path] });

/** Rights to read and write a folder. */
export const writes = (path: string): Rights => ({ write: [path] });

/** The right to write one file. */
export const writesFile = (path: string): Rights => ({ files: [path] });

/** Options that every command has. */
export const commonFields = {
  configFile: field(
    "config FILE",
    "read options from this JSON or YAML file; those of the command line win",
    {
      type: v.nullable(v.string()),
      default: null,
      rights: reads,
      group: "running",
    },
  ),
  help: field("help", "print the options that are needed most; --help all prints every one", {
    type: v.boolean(),
    default: false,
    group: "running",
  }),
};

/** A command of `./run`. */
// deno-lint-ignore no-explicit-any
export interface Command<F extends Fields = any> {
  /** Name that the command line begins with. */
  readonly name: string;
  /** Its program, a file of `experiments/`. */
  readonly script: string;
  /** Its purpose in a line. */
  readonly about: string;
  /** The argument that is no option, for a command that takes one, or several of its kind. */
  readonly argument?: {
    readonly name: string;
    readonly help: string;
    readonly several?: boolean;
    readonly optional?: boolean;
  };
  /** Its options. */
  readonly fields: F;
  /** Names of the fields that have to be given. */
  readonly required?: readonly (keyof F & string)[];
  /** Fields that are as an adapter was trained where they are not given. */
  readonly trained?: readonly Field[];
  /** Files and folders of the package that it reads beside modules and npm packages. */
  readonly sources?: readonly string[];
  /** True if it saves its state when it is asked to stop, and when its launcher has ended. */
  readonly saves?: boolean;
  /** Rights that do not follow from one option alone. */
  rights?(asked: Asked<F>): Rights;
}

/** Arguments of a command after parsing. */
// deno-lint-ignore no-explicit-any
export interface Asked<F extends Fields = any> {
  /** Values that the command line or its `--config` file names. */
  readonly given: Partial<Values<F>>;
  /** Values of all fields, by default where they are not given. */
  readonly values: Values<F>;
  /** The argument that is no option; an empty text for a command that takes none. */
  readonly argument: string;
  /** All such arguments of a command that takes several. */
  readonly positional: readonly string[];
  /** The command as it would be typed, without folders of this machine. */
  readonly line: string;
}

/** A command whose fields keep their types. */
export function command<F extends Fields>(options: Command<F>): Command<F> {
  return options;
}

/** The kinds of schema that text can be read as. */
type Kind = {
  readonly type: string;
  readonly wrapped?: Kind;
  readonly item?: Kind;
  readonly options?: readonly unknown[];
};

/** The schema below `nullable` and `optional`. */
function kindOf({ type }: { readonly type: unknown }): Kind {
  let kind = type as Kind;
  while (kind.wrapped) kind = kind.wrapped;
  return kind;
}

/** True if an option is given alone, without a value. */
function isSwitch(field: Field): boolean {
  return kindOf(field).type === "boolean";
}

function readText(text: string, { kind, label }: { kind: Kind; label: string }): unknown {
  if (kind.type === "array") {
    const item = kindOf({ type: kind.item });
    return text.split(",").map((part) => readText(part.trim(), { kind: item, label }));
  }
  const isNumber = kind.type === "number" ||
    kind.type === "picklist" && typeof kind.options![0] === "number";
  if (!isNumber) return text;
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new InputError(`${label} takes a number, not "${excerpt(text)}"`);
}

/** A value from a file; a number where a list is expected is a list of one. */
export function listed(field: Field, value: unknown): unknown {
  return typeof value === "number" && kindOf(field).type === "array" ? [value] : value;
}

/** Reads and checks one value; `label` names it in errors. */
function readValue(field: Field, given: unknown, label: string): unknown {
  const read = (text: string) =>
    field.parse ? field.parse(text) : readText(text, { kind: kindOf(field), label });
  const value = typeof given === "string" ? read(given) : listed(field, given);
  const result = v.safeParse(field.type, value);
  if (result.success) return result.output;
  const shown = excerpt(typeof given === "string" ? given : JSON.stringify(given));
  throw new InputError(`${label} cannot be ${shown}: ${reasonOf(result.issues[0])}`);
}

/** An issue of a schema as the end of a sentence. */
export function reasonOf(issue: v.BaseIssue<unknown>): string {
  const { type, requirement, expected, message } = issue;
  const choices = () => expected!.replaceAll(/[()"]| \| Object/g, "").replaceAll(" | ", ", ");
  switch (type) {
    case "picklist":
    case "union":
      return excerpt(`choose ${choices().replace(/, (?=[^,]*$)/, " or ")}`);
    case "integer":
    case "safe_integer":
      return "give a whole number";
    case "number":
    case "finite":
      return "give a number";
    case "min_value":
      return `give ${requirement} or more`;
    case "max_value":
      return `give ${requirement} or less`;
    case "gt_value":
      return `give more than ${requirement}`;
    case "lt_value":
      return `give less than ${requirement}`;
    default:
      return excerpt(message.startsWith("Invalid") ? message.toLowerCase() : message);
  }
}

/** The name nearest to a misspelt one, by the number of letters to insert, delete, replace or swap. */
export function nearest(name: string, names: readonly string[]): string {
  const distance = (a: string, b: string) => {
    let [older, old] = [[], Array.from({ length: b.length + 1 }, (_, j) => j)] as number[][];
    for (let i = 1; i <= a.length; i++) {
      const row = [i];
      for (let j = 1; j <= b.length; j++) {
        const change = a[i - 1] === b[j - 1] ? 0 : 1;
        const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
          ? older[j - 2] + 1
          : Infinity;
        row.push(Math.min(old[j] + 1, row[j - 1] + 1, old[j - 1] + change, swapped));
      }
      [older, old] = [old, row];
    }
    return old[b.length];
  };
  const short = name.slice(0, 64);
  return names.toSorted((a, b) => distance(short, a) - distance(short, b))[0];
}

/**
 * Reads the options of a command, and the file that `--config` names.
 *
 * @returns the values that they name, and the arguments that are no options.
 * @throws {InputError} naming an option or key that is unknown, or a value that is not possible.
 */
export function parseOptions<F extends Fields>(
  args: readonly string[],
  fields: F,
): { given: Partial<Values<F>>; positional: readonly string[] } {
  const entries = Object.entries(fields);
  const byFlag = new Map(
    entries.flatMap(([name, field]) =>
      [field.flag, field.alias ?? field.flag].map((flag) => [flag, { name, field }] as const)
    ),
  );
  const flagsOf = (keep: (field: Field) => boolean | undefined) =>
    [...byFlag].filter(([, { field }]) => keep(field)).map(([flag]) => flag);
  const parsed = parseArgs(joinNegatives(args, byFlag), {
    string: [...flagsOf((field) => !isSwitch(field)), "_"],
    boolean: flagsOf(isSwitch),
    collect: flagsOf(({ repeated }) => repeated),
    unknown: (argument, key) => {
      if (key === undefined) return true;
      const flags = entries.map(([, { flag }]) => flag);
      throw new InputError(
        `there is no option ${excerpt(argument.split("=")[0])}: did you mean --${
          nearest(key, flags)
        }? --help all lists them`,
      );
    },
  }) as Record<string, unknown>;

  const file = parsed[commonFields.configFile.flag];
  const given: Record<string, unknown> = file ? readConfigFile(String(file), fields) : {};
  const set: Record<string, unknown> = {};
  for (const [flag, { name, field }] of byFlag) {
    const text = parsed[flag];
    if (text === undefined || text === false || field.repeated && !(text as []).length) continue;
    if ([text].flat().includes("")) {
      throw new InputError(`--${flag} needs a value: --help all lists the options`);
    }
    if (isSwitch(field)) given[name] = !field.default;
    else given[name] = readValue(field, text, `--${flag}`);
    for (const [other, value] of Object.entries(field.sets?.(String(text)) ?? {})) {
      if (parsed[fields[other].flag] !== undefined) {
        throw new InputError(
          `--${fields[other].flag} does not go with --${flag}, which sets it: leave one out`,
        );
      }
      set[other] = value;
    }
  }
  const positional = (parsed._ as unknown[]).map(String);
  return { given: { ...given, ...set } as Partial<Values<F>>, positional };
}

/**
 * Reads the arguments of a command.
 *
 * @returns null if `--help` is among them: the help text is printed then.
 * @throws {InputError} as {@linkcode parseOptions}, and if an argument is missing or is one too many.
 */
export function readCommand<F extends Fields>(
  command: Command<F>,
  args: readonly string[],
): Asked<F> | null {
  const { name, argument, fields, required = [] } = command;
  const { given, positional } = parseOptions(args, fields);
  if ((given as { help?: boolean }).help) {
    console.log(helpText(command, { all: positional.includes("all") }));
    return null;
  }
  const [surplus] = positional.slice(argument?.several ? Infinity : argument ? 1 : 0);
  const missing = [
    ...argument && !argument.optional && positional.length === 0
      ? [`${argument.name} (${argument.help})`]
      : [],
    ...required.filter((field) => given[field] === undefined)
      .map((field) => `--${fields[field].flag}`),
  ];
  if (surplus !== undefined || missing.length > 0) {
    const reason = surplus === undefined
      ? `needs ${missing.join(" and ")}`
      : `takes no argument "${excerpt(surplus)}"`;
    throw new InputError(`${name} ${reason}: ./run ${name} --help lists its options`);
  }
  return {
    given,
    values: { ...defaultsOf(fields), ...given },
    argument: positional[0] ?? "",
    positional,
    line: commandLine(name, { args, fields }),
  };
}

/** Writes `--box -3,4` as `--box=-3,4`: a number below 0 is the value of the option before it. */
function joinNegatives(
  args: readonly string[],
  byFlag: ReadonlyMap<string, { readonly field: Field }>,
): string[] {
  const joined: string[] = [];
  for (const argument of args) {
    const before = joined.at(-1);
    const option = before?.startsWith("--") ? byFlag.get(before.slice(2)) : undefined;
    if (option && !isSwitch(option.field) && /^-[\d.]/.test(argument)) {
      joined.splice(-1, 1, `${before}=${argument}`);
    } else joined.push(argument);
  }
  return joined;
}

/** Reads values by the names of their fields from a JSON or YAML file. */
function readConfigFile(path: string, fields: Fields): Record<string, unknown> {
  const names = Object.keys(fields).filter((name) => !Object.hasOwn(commonFields, name));
  try {
    if (!Deno.statSync(path).isFile) throw new InputError("it is no file");
    const values: unknown = parseYaml(Deno.readTextFileSync(path)) ?? {};
    if (typeof values !== "object" || values === null || Array.isArray(values)) {
      throw new InputError("it holds no values by name, such as epochs: 3");
    }
    const given: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(values)) {
      // A key is spelt as in config.json or as its option is.
      const name = names.find((known) => known === key || fields[known].flag === key);
      if (name === undefined) {
        throw new InputError(`there is no ${excerpt(key)}: did you mean ${nearest(key, names)}?`);
      }
      if (Object.hasOwn(given, name)) throw new InputError(`it says ${name} twice`);
      given[name] = readValue(fields[name], value, name);
      if (typeof value === "string") Object.assign(given, fields[name].sets?.(value));
    }
    return given;
  } catch (error) {
    const [reason] = (error as Error).message.split("\n");
    throw new InputError(`--config ${excerpt(path)} cannot be used: ${excerpt(reason)}`);
  }
}

/** Number of options up to which `--help` prints all of them in one list. */
const SHORT = 14;

/** Columns of a help text. */
const COLUMNS = 100;

/** Help text of a command: its usage and its options, the most needed ones or, grouped, all. */
export function helpText(
  { name, about, argument, fields, required = [], trained = [] }: Command,
  { all }: { all: boolean },
): string {
  const listed: readonly Field[] = Object.values(fields as Fields);
  const head = ({ flag, argument }: Field) => `--${flag}${argument ? ` ${argument}` : ""}`;
  const usage = [
    `usage: ./run ${name}`,
    ...argument ? [argument.optional ? `[${argument.name}]` : argument.name] : [],
    ...required.map((field) => head(fields[field])),
    "[options]",
  ].join(" ");
  const intro = `${usage}\n\n${about}.\n${
    argument ? `\n${entry(argument.name, argument.help, argument.name.length)}` : ""
  }`;
  const list = (chosen: readonly Field[]) => {
    const width = Math.min(28, Math.max(...chosen.map((field) => head(field).length)));
    return chosen.map((field) => {
      // A value that must be given has no default, though another command's may.
      const help = required.some((name) => fields[name] === field)
        ? field.help.replace(/ \(default: [^)]*\)$/, "")
        : trained.includes(field)
        ? `${field.help.replace(/ \(default:? [^)]*\)$/, "")} (default: as the adapter was trained)`
        : `${field.help}${defaultOf(field)}`;
      return entry(head(field), help, width);
    }).join("");
  };
  if (listed.length <= SHORT) return `${intro}\n${list(listed)}`;
  if (!all) {
    const first = list(listed.filter(({ common }) => common));
    return `${intro}\n${first}\n./run ${name} --help all prints all ${listed.length} options.\n`;
  }
  const sections = GROUPS.map((group) => {
    const own = listed.filter((field) => field.group === group);
    return own.length > 0 ? `\n${group[0].toUpperCase()}${group.slice(1)}\n${list(own)}` : "";
  });
  return intro + sections.join("");
}

/** A name and its help beside it, in lines; below it where the name is too long. */
function entry(name: string, help: string, width: number): string {
  const lines = wrap(help, COLUMNS - width - 4);
  if (name.length > width) lines.unshift("");
  return lines.map((line, i) => `  ${(i ? "" : name).padEnd(width)}  ${line}`.trimEnd() + "\n")
    .join("");
}

/** Breaks a text into lines of at most so many characters. */
function wrap(text: string, columns: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line === "") lines.splice(-1, 1, word);
    else if (line.length + 1 + word.length <= columns) lines.splice(-1, 1, `${line} ${word}`);
    else lines.push(word);
  }
  return lines;
}

/** The default of a field for its help text, where it is a number or a name. */
function defaultOf({ default: value }: Field): string {
  if (typeof value === "number" || typeof value === "string" && value) return ` (default ${value})`;
  return Array.isArray(value) && value.length > 0 ? ` (default ${value.join(",")})` : "";
}

/**
 * The command as a user would type it, without folders of this machine: of paths the last part stays, in
 * quotes and with escapes where it holds a space or a control character. Options that say where and by how
 * many processes it is computed are left out: they change no figure.
 * The arguments have been parsed before, so that an option's value follows it or its equals sign.
 */
function commandLine(
  task: string,
  { args, fields }: { args: readonly string[]; fields: Fields },
): string {
  const paths = Object.values(fields).filter(({ rights }) => rights).map(({ flag }) => `--${flag}`);
  const passing = Object.values(fields).filter(({ group }) => group === "cluster");
  const kept = args.filter((argument, i) =>
    !passing.some((field) => {
      const option = `--${field.flag}`;
      const isValue = args[i - 1] === option && !isSwitch(field);
      return isValue || argument === option || argument.startsWith(`${option}=`);
    })
  );
  const shown = kept.map((argument, i) => {
    const [name, ...value] = argument.split("=");
    if (value.length > 0 && paths.includes(name)) return `${name}=${basename(value.join("="))}`;
    return argument.startsWith("--") && !paths.includes(kept[i - 1])
      ? argument
      : basename(argument);
  });
  return ["./run", task, ...shown.map(shellWord)].join(" ");
}
