/**
 * Starts a command in a process of its own, with the permissions that its arguments call for and no
 * others, and passes signals on to it.
 *
 * @module
 */
import { dirname, join, resolve } from "node:path";
import metadata from "../../deno.json" with { type: "json" };
import { excerpt, InputError } from "../errors.ts";
import { cacheDir } from "../fs.ts";
import { type Asked, type Command, nearest, readCommand, type Rights } from "./command_line.ts";
import { DEVICE_NOTE } from "./device.ts";
import { deviceEnvironment } from "./devices.ts";
import { LAUNCHER, signalNames } from "./interruption.ts";
import { MACHINE, SCHEDULER } from "./lease.ts";

/** Root of the package. */
const ROOT = join(import.meta.dirname!, "..", "..");

/** Its configuration, whose packages stand in `node_modules`. */
const CONFIG = join(ROOT, "deno.json");

/** Options of Deno for the launcher. */
const LAUNCHING = ["run", "-q", "--permission-set=launcher", `--config=${CONFIG}`];

/** Variables of the environment that a command may read. */
const ENVIRONMENT = [
  "HOME",
  "SAMLORA_CACHE",
  "XDG_CACHE_HOME",
  LAUNCHER,
  DEVICE_NOTE,
  MACHINE,
  ...Object.values(SCHEDULER),
];

/** A permission set as a configuration file of Deno holds it; paths are absolute. */
export interface Permissions {
  /** Files and folders that may be read. */
  readonly read: readonly string[];
  /** Files and folders that may be written. */
  readonly write: readonly string[];
  /** Hosts that may be fetched from. */
  readonly net: readonly string[];
  /** Variables of the environment that may be read; true for all. */
  readonly env: readonly string[] | true;
  /** Programs that may be run. */
  readonly run: readonly string[];
  /** True if native libraries may be loaded. */
  readonly ffi: boolean;
}

/** The rights that a command and the options given to it call for. */
function rightsOf(command: Command, asked: Asked): Rights[] {
  const named = Object.entries(asked.given).flatMap(([name, value]) =>
    value === null ? [] : command.fields[name].rights?.(value) ?? []
  );
  return [{ write: [cacheDir()] }, command.rights?.(asked) ?? {}, ...named];
}

/** Folders with the modules of threads: unlike the program's own, Deno reads them as it reads data. */
const THREADS = ["kernels", "lib"];

/**
 * The permissions that the arguments of a command call for: to read packages, code and what is named, to
 * write results and the cache.
 *
 * @param options.cwd Folder that relative paths start from.
 */
export function permissionsOf(
  command: Command,
  { asked, cwd }: { asked: Asked; cwd: string },
): Permissions {
  const rights = rightsOf(command, asked);
  const paths = (of: (rights: Rights) => readonly string[] | undefined) =>
    rights.flatMap((right) => of(right) ?? []).map((path) => resolve(cwd, path));
  const written = [
    ...paths(({ write }) => write),
    ...paths(({ files }) => files).flatMap(placesOf),
  ];
  const run = rights.flatMap((right) => right.run ?? []);
  const own = ["node_modules", ...THREADS, ...command.sources ?? []].map((path) =>
    join(ROOT, path)
  );
  return {
    // A file that is written under a temporary name and renamed is read as well.
    read: [...new Set([...own, ...paths(({ read }) => read), ...written])],
    write: [...new Set(written)],
    net: rights.flatMap(({ hosts }) => hosts ?? []),
    env: run.length > 0 ? true : ENVIRONMENT,
    run,
    ffi: rights.some(({ packages }) => packages !== undefined),
  };
}

/**
 * The places that writing a file takes: the file, and the folder beside it that holds it until it is
 * whole (see `writeAtomic`); or, where its folder is yet to be made, the uppermost new folder.
 */
function placesOf(file: string): string[] {
  const isThere = (path: string) => {
    try {
      return Deno.statSync(path) !== null;
    } catch {
      return false;
    }
  };
  let folder = dirname(file);
  if (isThere(folder)) return [file, `${file}.tmp`];
  while (!isThere(dirname(folder))) folder = dirname(folder);
  return [folder];
}

/** Variables that the reader of YAML asks for; to a command they are not set. */
const IGNORED = ["LOG_STREAM", "LOG_TOKENS"];

/** The configuration of a command's process: the place of its packages, and its permissions. */
export function configurationOf(permissions: Permissions): Record<string, unknown> {
  return {
    // Packages have been put into node_modules of the root by now.
    nodeModulesDir: "manual",
    workspace: [], // those above a folder for temporary files are anybody's
    lock: false,
    imports: metadata.imports,
    links: metadata.links.map((folder) => join(ROOT, folder)),
    permissions: {
      default: {
        ...permissions,
        env: permissions.env === true ? true : { allow: permissions.env, ignore: IGNORED },
        run: permissions.run.length > 0 && permissions.run,
        sys: false,
        import: false,
      },
    },
  };
}

/**
 * Starts the command that the arguments name and waits for its end. Signals go on to it, so that it can
 * save; it is given the time that it takes.
 *
 * @returns its exit code.
 */
export async function launch(
  commands: Readonly<Record<string, Command>>,
  words: readonly string[],
): Promise<number> {
  const { name, args } = split(commands, words);
  const cwd = Deno.env.get("INIT_CWD") ?? Deno.cwd();
  if (name !== undefined && !Object.hasOwn(commands, name) && Object.hasOwn(metadata.tasks, name)) {
    return await runDeno(
      ["task", "--quiet", `--config=${CONFIG}`, name, ...args],
      cwd,
    );
  }
  if (name === "--help" || name === "help") {
    console.log(`usage: ./run COMMAND [options]\n\n${listOf(commands)}`);
    return 0;
  }
  Deno.chdir(cwd);
  const command = commandOf(commands, name);
  const asked = readCommand(command, args);
  if (!asked) return 0;
  for (const name of rightsOf(command, asked).flatMap(({ packages }) => packages ?? [])) {
    const fetched = await runDeno(
      ["cache", "--quiet", "--no-lock", `--config=${CONFIG}`, name],
      cwd,
    );
    if (fetched !== 0) return fetched;
  }
  // Of an engine each task looks for a device itself, in an environment in which none is left out.
  const device = "device" in command.fields && !asked.given.engine
    ? await deviceEnvironment(asked.values.device as string | null)
    : {};
  const folder = await Deno.makeTempDir({ prefix: "samlora-" });
  try {
    const config = join(folder, "deno.json");
    const permissions = permissionsOf(command, { asked, cwd });
    await Deno.writeTextFile(config, JSON.stringify(configurationOf(permissions)));
    return await runDeno(
      [
        "run",
        "--quiet",
        "--no-prompt",
        V8_FLAGS,
        "--permission-set",
        `--config=${config}`,
        join(ROOT, "experiments", command.script),
        ...args,
      ],
      cwd,
      { ...device, [LAUNCHER]: String(Deno.pid), [MACHINE]: Deno.hostname() },
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Little of what a step makes outlives it: V8 would grow its nursery by 30 MiB for nothing. */
export const V8_FLAGS = "--v8-flags=--max-semi-space-size=1";

/** Script that runs commands on a machine that may lack Deno. */
export const RUN_SCRIPT = join(ROOT, "run");

/**
 * Starts a command of `./run` as a user does, in a process of its own with permissions of its own.
 *
 * @param options.env Variables beside those of this process.
 */
export function spawnCommand(
  words: readonly string[],
  { env = {}, stdout }: { env?: Readonly<Record<string, string>>; stdout: "piped" | "inherit" },
): Deno.ChildProcess {
  const script = join(ROOT, "experiments", "launch.ts");
  return new Deno.Command("/bin/sh", {
    // Errors stand among what else it prints; the shell is replaced by the command.
    args: ["-c", 'exec "$0" "$@" 2>&1', Deno.execPath(), ...LAUNCHING, script, ...words],
    env: { ...env },
    stdout,
  }).spawn();
}

/** The command that the first word names, or the first two: `experiments plan`. */
function split(
  commands: Readonly<Record<string, Command>>,
  [first, second, ...rest]: readonly string[],
): { name: string | undefined; args: readonly string[] } {
  const both = `${first} ${second}`;
  if (Object.hasOwn(commands, both)) return { name: both, args: rest };
  return { name: first, args: second === undefined ? [] : [second, ...rest] };
}

/** The commands, a line each. */
function listOf(commands: Readonly<Record<string, Command>>): string {
  const lines = Object.values(commands).map(({ name, about }) => `  ${name.padEnd(18)} ${about}`);
  return lines.join("\n");
}

function commandOf(commands: Readonly<Record<string, Command>>, name: string | undefined): Command {
  if (name !== undefined && Object.hasOwn(commands, name)) return commands[name];
  const names = [...Object.keys(commands), ...Object.keys(metadata.tasks)];
  throw new InputError(
    name === undefined
      ? `name a command:\n${listOf(commands)}`
      : `there is no command ${excerpt(name)}: did you mean ${nearest(name, names)}?`,
  );
}

/**
 * Runs Deno, and passes on to it every signal that asks this process to stop.
 *
 * @param env Variables beside those of this process. A task is not told its launcher: it would tell the
 * programs that it starts, which would miss their parent.
 */
async function runDeno(
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Promise<number> {
  const child = { process: undefined as Deno.ChildProcess | undefined };
  const listeners = signalNames().map((name) => {
    const pass = () => {
      try {
        // The console of Windows tells every process of it by itself, and `kill` cannot but end one.
        if (Deno.build.os !== "windows") child.process?.kill(name);
      } catch {
        // It has ended by itself.
      }
    };
    Deno.addSignalListener(name, pass);
    return [name, pass] as const;
  });
  child.process = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd,
    env: { ...env, DENO_NO_PACKAGE_JSON: "1" },
  }).spawn();
  const { code } = await child.process.status;
  for (const [name, pass] of listeners) Deno.removeSignalListener(name, pass);
  return code;
}
