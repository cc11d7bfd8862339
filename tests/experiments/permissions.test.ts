import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import metadata from "../../deno.json" with { type: "json" };
import { bundler, commands } from "../../experiments/commands.ts";
import { type Command, readCommand } from "../../lib/study/command_line.ts";
import { configurationOf, type Permissions, permissionsOf } from "../../lib/study/launcher.ts";
import { MODELS } from "../../lib/sam/models.ts";
import { forgetBegun, noteBegun } from "../../lib/study/begun.ts";
import { adapterExperiment } from "../../lib/study/experiment.ts";
import { DEFAULTS } from "../../lib/study/schema.ts";
import { SHIPPED_STUDY } from "../../lib/study/shipped.ts";
import { cacheIn } from "../data/temporary.ts";
import { runCommand } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";

const root = join(import.meta.dirname!, "..", "..");
/** Read by every command: packages, and the modules of threads. */
const always = ["node_modules", "kernels", "lib"].map((name) => join(root, name));
const git = join(root, ".git");
/** The code that a study's record holds a hash of, beside those modules. */
const sources = ["deno.json", "experiments"].map((name) => join(root, name));
const sample = join(root, "experiments", "sample");
const shipped = join(root, SHIPPED_STUDY);
const pair = (ending: string) => join(root, "tests/formats/fixtures/formats", `pair.${ending}`);
const env = [
  "HOME",
  "SAMLORA_CACHE",
  "XDG_CACHE_HOME",
  "SAMLORA_LAUNCHER",
  "SAMLORA_DEVICE",
  "SAMLORA_MACHINE",
  "SLURMD_NODENAME",
  "SLURM_JOB_ID",
  "SLURM_ARRAY_JOB_ID",
  "SLURM_ARRAY_TASK_ID",
  "SLURM_JOB_GPUS",
];
const cache = "/cache";

/** Permissions of a command that is started with these arguments in a folder. */
function grants(args: readonly string[], cwd: string, folder = cache): Permissions {
  using _ = cacheIn(folder);
  const command: Command = commands[args[0] as keyof typeof commands];
  return permissionsOf(command, { asked: readCommand(command, args.slice(1))!, cwd });
}

/** An empty folder with a file in it by the name of `run/here`. */
async function inFolder(test: (cwd: string) => void | Promise<void>): Promise<void> {
  const cwd = await Deno.makeTempDir();
  try {
    await Deno.mkdir(join(cwd, "run"));
    await test(cwd);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
}

Deno.test("each command is granted the paths that its arguments name, and nothing else", () =>
  inFolder((cwd) => {
    const cases: [string[], { read?: string[]; write: string[] }][] = [
      [["experiments"], { read: [git, ...sources], write: ["results"] }],
      [["experiments", "--data", "d", "--out=o", "--side", "64"], {
        read: [git, ...sources, "d"],
        write: ["o"],
      }],
      [["experiment", "lora_4", '--weights=,a,b "c".pth', "--out", "o"], {
        read: [git, ...sources, ',a,b "c".pth'],
        write: ["o"],
      }],
      [["evaluate", "--data", "e/d", "run"], {
        read: [git, "e/d", "run"],
        write: ["run/evaluation-d.json", "run/evaluation-d.json.tmp"],
      }],
      [["evaluate", "--data", "d", "run", "--out", "x.json"], {
        read: [git, "d", "run"],
        write: ["x.json", "x.json.tmp"],
      }],
      [["autopsy", "--data", "d", "--out", "o", "--faults", "no-grad"], {
        read: [git, sample, "d"],
        write: ["o"],
      }],
      [["report", "s", "--pictures=d"], { read: [sample, "d"], write: ["s"] }],
      [["predict", "i.nii", "--boxes-from=s.nii", "--out", "run"], {
        read: [shipped, "i.nii", "s.nii"],
        write: ["run"],
      }],
      // Voxels that lie apart from their header are read with it.
      [["predict", pair("mhd"), "--out", "o"], {
        read: [shipped, pair("mhd"), pair("raw")],
        write: ["o"],
      }],
      // Of a pattern the folder above it is read.
      [["predict", "i.nii", "d/*/t1c.nii", "--box", "-1,2,3,4", "--out", "o"], {
        read: [shipped, "i.nii", "d"],
        write: ["o"],
      }],
      [["merge", "--model", "vit_b", "adapter", "--out", "m.pth"], {
        read: [shipped, "adapter"],
        write: ["m.pth", "m.pth.tmp"],
      }],
      [["merge", "a", "--out", "/m.pth"], {
        read: [shipped, "a"],
        write: ["/m.pth", "/m.pth.tmp"],
      }],
      [["merge", "a", "--onnx", "--out", "/m"], {
        read: [shipped, "a"],
        write: ["encoder", "decoder"].flatMap((part) => [`/m.${part}.onnx`, `/m.${part}.onnx.tmp`]),
      }],
      // Weights in several files lie beside their index.
      [["merge", "a", "--weights", "w/m.index.json", "--out", "/m.pth"], {
        read: [shipped, "a", "w"],
        write: ["/m.pth", "/m.pth.tmp"],
      }],
      [["weights", "vit_b", "--folder", "f"], { write: ["f"] }],
    ];
    for (const [args, { read = [], write }] of cases) {
      const absolute = (paths: readonly string[]) =>
        paths.map((path) => path.startsWith("/") ? path : join(cwd, path)).sort();
      const granted = grants(args, cwd);
      assertEquals(
        { ...granted, read: [...granted.read].sort(), write: [...granted.write].sort(), net: [] },
        {
          read: absolute([...always, cache, ...read, ...write]),
          write: absolute([cache, ...write]),
          net: [],
          env,
          run: [],
          ffi: false,
        },
        args.join(" "),
      );
      assertEquals(granted.net.length > 0, args[0] === "weights");
    }
  }));

Deno.test("a study that goes on may read the data and weights that it was begun with", () =>
  inFolder(async (cwd) => {
    const config = { data: '/data of/"a",\nb', weights: "/w,1.pth", patients: "/p.csv" };
    const [run, own] = [join(cwd, "run"), join(cwd, "cache")];
    const granted = (data = config.data, args: readonly string[] = []) => {
      const text = JSON.stringify({ config: { ...config, data } });
      Deno.writeTextFileSync(join(run, "resume.json"), text);
      return grants(["experiments", "--resume", run, ...args], cwd, own);
    };
    const reads = [...always, git, ...sources, own, run];
    {
      using _ = cacheIn(own);
      await noteBegun(run, config);
    }
    const { read, write } = granted();
    assertEquals([...read].sort(), [...reads, ...Object.values(config)].sort());
    assertEquals([...write].sort(), [own, run].sort());
    // Another study in its place, or the same one with a path that nobody typed, gets neither.
    assertEquals([...granted("/home").read].sort(), [...reads].sort());
    assertEquals([...granted("/home", ["--data", "/d"]).read].sort(), [...reads, "/d"].sort());
    {
      using _ = cacheIn(own);
      await forgetBegun(run, config);
    }
    assertEquals([...granted().read].sort(), [...reads].sort());
    await Deno.writeTextFile(join(run, "resume.json"), "null");
    assertEquals(grants(["experiments", "--resume", run], cwd, own).write, write);
  }));

Deno.test("a study from elsewhere is gone on with by typed paths alone, and says which it needs", async () => {
  const cwd = await tinyDataset(3);
  await Deno.mkdir(join(cwd, "run"));
  const secret = join(cwd, "secret");
  const begin = (paths: { data: string; weights: string | null }) =>
    Deno.writeTextFile(
      join(cwd, "run", "resume.json"),
      JSON.stringify({
        experiments: [adapterExperiment(4, DEFAULTS)],
        config: { ...DEFAULTS, ...paths },
        seeds: null,
        sample: null,
        command: "./run experiments",
        checkpointMinutes: 5,
        leaseSeconds: 60,
        tensorboard: true,
        code: "",
        weights: "",
        data: {},
        machine: "",
      }),
    );
  const both = { data: secret, weights: secret };
  const cases: [{ data: string; weights: string | null }, string[], RegExp][] = [
    [{ data: secret, weights: null }, [], /^error: run was begun elsewhere.*its data by --data\n$/],
    [both, [], /name its data and weights by --data and --weights\n$/],
    [both, ["--data", "data"], /name its weights by --weights\n$/],
    [both, ["--data", "data", "--weights", "gone.pth"], /^error: cannot read \S*gone\.pth.*\n$/],
  ];
  for (const [paths, args, says] of cases) {
    await begin(paths);
    const { code, stderr } = await runCommand(["experiments", "--resume", "run", ...args], { cwd });
    assertEquals(code, 1, stderr);
    assertMatch(stderr.replace(/^.*XDG_.*\n/gm, ""), says);
  }
  await Deno.remove(cwd, { recursive: true });
});

Deno.test("weights alone may use the network, and only the hosts that it fetches from", () => {
  const { net, read } = grants(["weights", "vit_b"], "/");
  for (const { checkpoint } of Object.values(MODELS)) {
    if (checkpoint) assert(net.includes(new URL(checkpoint.baseUrl).host));
  }
  assertEquals(net.length, 3);
  assertEquals([...read].sort(), [cache, ...always].sort());
  const mirror = grants(["weights", "vit_b", "--base-url", "http://u:p@127.0.0.1:81/x"], "/");
  assertEquals(mirror.net, ["127.0.0.1:81"]);
});

/** Programs that commands may run. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  devices: [Deno.execPath()],
  "gpu-report": [Deno.execPath()],
  "experiments submit": ["sbatch", "squeue", "scancel"],
  "experiments status": ["squeue"],
  "experiments cancel": ["squeue", "scancel", "/bin/sh"],
  view: [bundler()],
};

Deno.test("devices, gpu-report, view and what calls a scheduler alone may run a program", () => {
  for (const name of Object.keys(commands)) {
    const { argument, required = [] } = commands[name as keyof typeof commands];
    const given = [
      ...argument ? ["x"] : [],
      ...required.map((field) => `--${field}=${field === "engine" ? "slurm" : "x"}`),
      ...name === "view" ? ["--build=y"] : [], // which opens no browser
    ];
    const { run, env: variables } = grants([name, ...given], "/");
    const runs = PROGRAMS[name] ?? [];
    assertEquals([run, variables === true], [runs, runs.length > 0], name);
  }
  const local = grants(["experiments", "--engine", "local"], "/");
  assertEquals(local.run, ["/bin/sh"]);
});

Deno.test("view reads its scan and adapter, writes nothing but the folder that it builds, and serves this machine", () => {
  const own = [...always, ...sources, shipped, sample];
  const served = grants(["view", "/scan.nii", "--adapter", "/a"], "/");
  assertEquals([...served.read].sort(), [...own, "/scan.nii", "/a", cache].sort());
  assertEquals([served.write, served.net], [[cache], ["127.0.0.1"]]);
  const built = grants(["view", "--build", "/b"], "/");
  assertEquals([...built.read].sort(), [...own, "/b", cache].sort());
  assertEquals([...built.write].sort(), ["/b", cache].sort());
});

Deno.test("an adapter of a study that goes on is read with its task's manifest", async () => {
  const study = await Deno.makeTempDir();
  await Deno.mkdir(join(study, "adapters"));
  await Deno.writeTextFile(join(study, "manifest.json"), "{}");
  const { read } = grants(
    ["evaluate", join(study, "adapters", "seed_0", "lora_4"), "--data", "/data"],
    "/",
  );
  for (const path of ["manifest.json", "seed_0/lora_4/manifest.json"]) {
    assert(read.includes(join(study, path)), path);
  }
  await Deno.remove(study, { recursive: true });
});

Deno.test("foreign functions are for --webgpu dawn alone", () => {
  for (const [name, granted] of [["dawn", true], ["deno", false]] as const) {
    assertEquals(grants(["experiments", "--webgpu", name], "/").ffi, granted, name);
  }
  const { permissions } = configurationOf(grants(["experiments"], "/")) as {
    permissions: { default: Record<string, unknown> };
  };
  const { run, sys, import: modules } = permissions.default;
  assertEquals([run, sys, modules], [false, false, false]);
});

Deno.test("every command is a task of one line, and no task needs a shell", () => {
  const tasks: Record<string, unknown> = metadata.tasks;
  for (const name of Object.keys(commands).filter((name) => !name.includes(" "))) {
    assertEquals(tasks[name], `deno run -qP=launcher experiments/launch.ts ${name}`);
  }
  const shells = /(["&;] ?)(sh|export) /;
  for (const task of Object.values(tasks)) assert(!shells.test(JSON.stringify(task)));
});

Deno.test("a program in the place of a study is refused all else than its permissions, on any path", async () => {
  const folder = await tinyDataset(3);
  const data = Deno.build.os === "windows" ? "a, b" : 'a, "b"\n c';
  await Deno.rename(join(folder, "data"), join(folder, data));
  const secret = await Deno.makeTempFile({ prefix: "samlora-secret-" });
  try {
    for (const name of ["cache", "out"]) await Deno.mkdir(join(folder, name));
    const study = ["experiments", "--data", data, "--out", "out"];
    const config = join(folder, "cache", "deno.json");
    await Deno.writeTextFile(config, JSON.stringify(configurationOf(grants(study, folder))));
    const forbidden = join(import.meta.dirname!, "forbidden.ts");
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--no-prompt",
        "--permission-set",
        `--config=${config}`,
        forbidden,
        data,
        secret,
        join(folder, "elsewhere"),
      ],
      cwd: folder,
      env: { NO_COLOR: "1", SAMLORA_CACHE: "/cache" },
    }).output();
    const text = new TextDecoder();
    assertEquals(code, 0, text.decode(stderr));
    const outcomes: Record<string, string> = JSON.parse(text.decode(stdout));
    const allowed = ["read the data", "write the results", "see the cache's place"];
    for (const [what, outcome] of Object.entries(outcomes)) {
      assertEquals(outcome, allowed.includes(what) ? "done" : "NotCapable", what);
    }
    assertEquals(Object.keys(outcomes).length, 16);
  } finally {
    await Deno.remove(folder, { recursive: true });
    await Deno.remove(secret);
  }
});
