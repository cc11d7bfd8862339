import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import metadata from "../../deno.json" with { type: "json" };
import { MODELS } from "../../lib/sam/models.ts";
import { runScript } from "./command_line.ts";
import { tinyDataset } from "./tiny_dataset.ts";

const root = join(import.meta.dirname!, "..", "..");
const launcher = join(root, "experiments", "run.sh");

/** The arguments that Deno is started with for a task; no program runs. */
async function denoArguments(task: string, args: readonly string[]): Promise<string[]> {
  const { stdout } = await new Deno.Command("sh", {
    args: [launcher, task, ...args],
    env: {
      SAMLORA_DENO: join(root, "tests", "experiments", "print_arguments.sh"),
      SAMLORA_CACHE: "/cache",
    },
  }).output();
  return new TextDecoder().decode(stdout).split("\n").slice(0, -1);
}

/** What a task may read, write, fetch and see of the environment. */
async function grants(task: string, args: readonly string[]) {
  const flags = await denoArguments(task, args);
  const end = flags.findIndex((flag) => flag.startsWith(join(root, "experiments")));
  const list = (name: string) =>
    flags.slice(0, end).find((flag) => flag.startsWith(`--allow-${name}=`))
      ?.slice(`--allow-${name}=`.length).split(/(?<!,),(?!,)/).sort();
  const others = flags.slice(1, end)
    .filter((flag) =>
      !/^--(allow-(read|write|env|net)=.|no-prompt$|config=|v8-flags=--max-semi-space-size=\d+$)/
        .test(flag)
    );
  assertEquals(others, [], "a flag that grants something else");
  assertEquals(flags.slice(end + 1), [...args], "the program gets other arguments");
  return { read: list("read"), write: list("write"), env: list("env"), net: list("net") };
}

const packages = join(root, "node_modules");
const git = join(root, ".git");
/** What the code's hash is made of. */
const sources = ["deno.json", "experiments", "kernels", "lib"].map((name) => join(root, name));
const env = ["HOME", "SAMLORA_CACHE", "XDG_CACHE_HOME"];

Deno.test("each task is granted the paths that its arguments name, and nothing else", async () => {
  const cases: [string, string[], { read: string[]; write: string[] }][] = [
    ["main", [], {
      read: [packages, git, ...sources, "results", "/cache"],
      write: ["results", "/cache"],
    }],
    ["main", ["--data", "d", "--out=o", "--side", "64"], {
      read: [packages, git, ...sources, "d", "o", "/cache"],
      write: ["o", "/cache"],
    }],
    ["experiment", ["lora_4", "--weights=a,b c.pth", "--out", "o"], {
      read: [packages, git, ...sources, "a,,b c.pth", "o", "/cache"],
      write: ["o", "/cache"],
    }],
    ["evaluate", ["--data", "d", "run"], {
      read: [packages, git, "d", "run", "/cache"],
      write: ["run", "/cache"],
    }],
    ["autopsy", ["--data", "d", "--out", "o", "--faults", "no-grad"], {
      read: [packages, git, "d", "o", "/cache"],
      write: ["o", "/cache"],
    }],
    ["report", ["s", "--pictures=d"], {
      read: [packages, "s", "d", "/cache"],
      write: ["s", "/cache"],
    }],
    ["predict", ["--image", "i.nii", "--boxes-from=s.nii", "--out", "x/m.nii", "--axis", "1"], {
      read: [packages, "i.nii", "s.nii", "x", "/cache"],
      write: ["x", "/cache"],
    }],
    ["merge", ["--model", "vit_b", "adapter", "--out", "m.pth"], {
      read: [packages, "adapter", ".", "/cache"],
      write: [".", "/cache"],
    }],
  ];
  for (const [task, args, { read, write }] of cases) {
    assertEquals(await grants(task, args), {
      read: read.sort(),
      write: write.sort(),
      env,
      net: undefined,
    }, `${task} ${args.join(" ")}`);
  }
});

Deno.test("weights alone may use the network, and only the hosts that it fetches from", async () => {
  const { net, read } = await grants("weights", ["vit_b"]);
  for (const { checkpoint } of Object.values(MODELS)) {
    assert(net!.includes(new URL(checkpoint.baseUrl).host));
  }
  assertEquals(net!.length, 3);
  assertEquals(read, ["/cache", packages].sort());
  const mirror = await grants("weights", [
    "vit_b",
    "--base-url",
    "http://u:p@127.0.0.1:81/x",
    "--folder",
    "f",
  ]);
  assertEquals(mirror.net, ["127.0.0.1:81"]);
  assertEquals(mirror.write, ["/cache", "f"]);
});

Deno.test("foreign functions are for --webgpu dawn alone", async () => {
  for (const [name, granted] of [["dawn", true], ["deno", false]] as const) {
    const flags = await denoArguments("main", ["--webgpu", name]);
    assertEquals(flags.includes("--allow-ffi"), granted, name);
  }
});

Deno.test("every task that runs a script of experiments/ goes through the launcher", () => {
  for (const [name, { command }] of Object.entries(metadata.tasks)) {
    if (!command.includes("experiments/")) continue;
    assertMatch(command, /sh \\?"\$ROOT\/experiments\/run\.sh\\?" \w+$/, name);
    assert(!command.includes("--allow"), name);
  }
});

Deno.test("the main job runs under exactly these permissions, where all else is refused", async () => {
  const folder = await tinyDataset(3);
  const secret = await Deno.makeTempFile({ prefix: "samlora-secret-" });
  try {
    const args = [
      "--data",
      "data",
      "--out",
      "out",
      "--side",
      "64",
      "--epochs",
      "1",
      "--ranks",
      "2",
    ];
    const study = await runScript("main.ts", [...args, "--max-train", "2"], { cwd: folder });
    assertEquals(study.code, 0, study.stderr);
    assertMatch(await Deno.readTextFile(join(folder, "out", "table.md")), /LoRA-2/);

    // The same flags, with a program in the place of the study that tries what it must not.
    const flags = await denoArguments("main", args);
    const script = flags.findIndex((flag) => flag.endsWith("main.ts"));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...flags.slice(0, script),
        join(import.meta.dirname!, "forbidden.ts"),
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
