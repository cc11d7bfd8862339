import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { commands } from "../../experiments/commands.ts";
import {
  type Command,
  type Field,
  helpText,
  parseOptions,
  readCommand,
} from "../../lib/study/command_line.ts";
import { changePlan } from "../../lib/study/resume.ts";
import { optionDifferences, parseConfig, submitOptionsOf } from "../../lib/study/schema.ts";
import { AUGMENT_DEFAULTS } from "../../lib/data/augment_options.ts";
import { InputError, shellWord } from "../../lib/errors.ts";
import { readOptions } from "./read_options.ts";

Deno.test("--augment names what is done, flips included; without it slices are flipped alone", () => {
  const read = (...args: string[]) => {
    const { config: { flip, augment, augmentVariants }, given } = readOptions(args);
    return { flip, augment, augmentVariants, given };
  };
  assertEquals(read(), { flip: 0.5, augment: {}, augmentVariants: 0, given: {} });
  assertEquals(read("--augment", "none"), {
    flip: 0,
    augment: {},
    augmentVariants: 0,
    given: { augment: {}, flip: 0 },
  });
  const all = read("--augment", "all", "--augment-variants", "3");
  assertEquals([all.flip, all.augment, all.augmentVariants], [0.5, AUGMENT_DEFAULTS, 3]);
  const some = read("--augment=flip@0.2,rotation=20@1");
  assertEquals([some.flip, some.augment], [0.2, { rotation: { degrees: 20, chance: 1 } }]);
  const names = "flip,rotation,scaling,elastic,gamma,bias-field,noise";
  assertEquals(read("--augment", names), read("--augment", "all"));
});

Deno.test("a config keeps its augmentation, and one from before there was any reads as none", () => {
  const { config } = readOptions(["--augment", "all", "--augment-variants", "2"]);
  assertEquals(parseConfig(JSON.parse(JSON.stringify(config)), "config.json"), config);
  const { augment: _, augmentVariants: __, ...before } = readOptions([]).config;
  assertEquals(parseConfig(before, "config.json"), readOptions([]).config);
});

Deno.test("augmentations that are none are refused by name", () => {
  for (
    const [args, message] of [
      [["--augment", "rotate"], 'there is no augmentation "rotate"'],
      [["--augment", "flip", "--flip", "0.1"], "--flip does not go with --augment"],
      [["--augment", "rotation=200"], "--augment cannot be rotation=200"],
      [["--augment", "gamma=0:2"], "--augment cannot be gamma=0:2"],
      [["--augment", "scaling=1.2:0.9"], "the lower end is above the upper"],
      [["--augment", "elastic=0.1"], "the image would fold"],
      [["--augment", "noise=-1:1"], "--augment cannot be noise=-1:1"],
      [["--augment", "bias-field@2"], 'the chance of "bias-field@2"'],
      [["--augment", "flip@2"], 'the chance of "flip@2"'],
      [["--augment-variants=-1"], "--augment-variants cannot be -1"],
      [["--augment-variants", "1.5"], "--augment-variants cannot be 1.5"],
    ] as const
  ) {
    assertThrows(() => readOptions(args), InputError, message);
  }
});

Deno.test("--pretrained-lr is kept in the config; in records from before there was one they took --lr", () => {
  const read = (...args: string[]) => {
    const { config, given } = readOptions(args);
    assertEquals(parseConfig(JSON.parse(JSON.stringify(config)), "config.json"), config);
    return [config.learningRate, config.pretrainedLearningRate, given.pretrainedLearningRate];
  };
  assertEquals(read("--lr", "2e-3"), [[2e-3], 5e-4, undefined]);
  assertEquals(read("--lr", "2e-3", "--pretrained-lr", "2e-4"), [[2e-3], 2e-4, 2e-4]);
  const { pretrainedLearningRate: _, ...before } = readOptions([]).config;
  assertEquals(parseConfig(before, "config.json").pretrainedLearningRate, null);
  for (const value of ["0", "-1e-4"]) {
    assertThrows(
      () => readOptions([`--pretrained-lr=${value}`]),
      InputError,
      `--pretrained-lr cannot be ${value}`,
    );
  }
  assertThrows(() => readOptions(["--pretrained-lr=fast"]), InputError, 'not "fast"');
});

Deno.test("--wise-ft takes shares between none and all, and no start whose update is something", () => {
  assertEquals(readOptions([]).config.wiseFt, [0.5, 0.75, 1]);
  assertEquals(readOptions(["--wise-ft", "0.5,1"]).config.wiseFt, [0.5, 1]);
  assertEquals(readOptions(["--init", "pissa"]).config.wiseFt, [1]);
  for (
    const [args, message] of [
      [["--wise-ft", "1.5"], "--wise-ft cannot be 1.5: give 1 or less"],
      [["--wise-ft", "0"], "--wise-ft cannot be 0"],
      [["--wise-ft", "0.5,0.5"], "--wise-ft cannot be 0.5,0.5: it names a share twice"],
      [["--wise-ft", "half"], '--wise-ft takes a number, not "half"'],
      [["--wise-ft", "0.5", "--init", "pissa"], "does not go with --init pissa"],
    ] as const
  ) {
    assertThrows(() => readOptions(args), InputError, message);
  }
});

Deno.test("a --config file gives values by the names of config.json; the command line goes over it", async () => {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  const read = (text: string, ...args: string[]) => {
    Deno.writeTextFileSync(path, text);
    return readOptions(["--config", path, ...args]);
  };
  try {
    const yaml = [
      "# a comment",
      "epochs: 7",
      "learningRate: 3e-4",
      "prompt: {tight-box: 0.5, point: 0.5}",
      "augment: gamma=0.8:1.2,flip@0.1",
      "targets: [attn.qkv, attn.proj]",
      "ranks: [4, 8]",
      "baselines: peft",
      "earlyStopping: false",
      "crop: null",
    ];
    const options = read(yaml.join("\n"), "--lr", "1e-4", "--augment-variants", "2");
    const { config, given, ranks, baselines } = options;
    assertEquals(
      [config.epochs, config.learningRate, config.flip, config.earlyStopping, config.crop],
      [[7], [1e-4], 0.1, false, null],
    );
    assertEquals(config.prompt, { "tight-box": 0.5, point: 0.5 });
    assertEquals(config.augment, { gamma: { low: 0.8, high: 1.2, chance: 0.5 } });
    assertEquals([config.targets, ranks, baselines], [["attn.qkv", "attn.proj"], [4, 8], ["peft"]]);
    assertEquals([given.augmentVariants, given.epochs, given.batchSize], [2, [7], undefined]);
    // A run's own values are a file that is read back.
    const { config: again } = read(JSON.stringify(config));
    assertEquals(again, config);
    assertEquals(read("").config, readOptions([]).config);

    for (
      const [text, says] of [
        ["epohcs: 3", "there is no epohcs: did you mean epochs?"],
        ["lr: 0.1\nlearningRate: 0.1", "it says learningRate twice"],
        ["help: true", "there is no help"],
        ["epochs: 0", "epochs cannot be 0: give 1 or more"],
        ["epochs: three", 'epochs takes a number, not "three"'],
        [
          "model: vit_x",
          "model cannot be vit_x: choose mobile_sam, vit_b, vit_l, vit_h, medsam or lite_medsam",
        ],
        ["prompt: {tight: 1}", 'prompt cannot be {"tight":1}'],
        ["- 3", "it holds no values by name"],
        ["epochs: [", "cannot be used"],
      ]
    ) assertThrows(() => read(text), InputError, says);
  } finally {
    await Deno.remove(path);
  }
  assertThrows(
    () => readOptions(["--config", path]),
    InputError,
    `--config ${path} cannot be used`,
  );
});

Deno.test("values follow an option or its equals sign, numbers below zero too", () => {
  const { fields } = commands.predict;
  const read = (...args: string[]) => parseOptions(args, fields).given.box;
  assertEquals(read("--box", "-3,4,5,6", "--box=-1,-2,7,8"), ["-3,4,5,6", "-1,-2,7,8"]);
  assertThrows(() => read("--box", "--axis", "1"), InputError, "--box needs a value");
  assertThrows(
    () => readOptions(["--lr", "-1"]),
    InputError,
    "--lr cannot be -1: give more than 0",
  );
  assertEquals(readOptions(["--lr=2e-3", "--no-early-stopping"]).config.earlyStopping, false);
});

Deno.test("an option that there is not names the nearest one, in every command", () => {
  for (
    const [command, wrong, near] of [
      ["experiments", "--epohcs", "--epochs"],
      ["experiments", "--learning-rate", "--warmup"],
      ["experiment", "--resum", "--seed"],
      ["evaluate", "--date", "--data"],
      ["predict", "--boxfrom", "--boxes-from"],
      ["merge", "--weight", "--weights"],
      ["report", "--picture", "--pictures"],
      ["weights", "--baseurl", "--base-url"],
      ["autopsy", "--fault", "--faults"],
    ] as const
  ) {
    const read = () => parseOptions([`${wrong}=1`], commands[command].fields);
    assertThrows(read, InputError, `there is no option ${wrong}: did you mean --`);
    if (near !== "--warmup" && near !== "--seed") assertThrows(read, InputError, `mean ${near}?`);
  }
});

Deno.test("--help shows twelve options of a study, --help all every one once under its heading", () => {
  const fields = Object.values(commands.experiments.fields);
  assertEquals(fields.filter(({ common }: Field) => common).length, 12);
  const short = helpText(commands.experiments, { all: false });
  assertEquals(short.match(/^ {2}--/gm)?.length, 12);
  assertMatch(short, new RegExp(`--help all prints all ${fields.length} options`));
  for (const command of Object.values(commands)) {
    const all = helpText(command, { all: true });
    for (const { flag } of Object.values(command.fields)) {
      assertEquals(all.match(new RegExp(`^ {2}--${flag}( |$)`, "gm"))?.length, 1, flag);
    }
    assert(all.split("\n").every((line) => line.length <= 100), command.name);
    for (const name of (command as Command).required ?? []) {
      const { flag } = (command as Command).fields[name];
      const own = all.split(/\n {2}(?=--)/).find((text) => text.startsWith(`--${flag} `))!;
      assert(!own.includes("(default"), `${command.name} --${flag}: ${own}`);
    }
    assertMatch(all, new RegExp(`^usage: ./run ${command.name} `));
  }
});

Deno.test("one option means one thing in every command", () => {
  const meanings = new Map<string, Field>();
  for (const { fields } of Object.values(commands)) {
    for (const field of Object.values(fields) as Field[]) {
      const before = meanings.get(field.flag) ?? field;
      meanings.set(field.flag, before);
      // The destination of results is a folder for some and a file for others.
      if (field.flag === "out" || field.flag === "sweep") continue;
      assertEquals(before.type, field.type, field.flag);
      assertEquals(before.help, field.help, field.flag);
    }
  }
});

Deno.test("a resumed study may change paths and budgets, and is told what else it changes", () => {
  const { config } = readOptions([]);
  const free = { data: "elsewhere", weights: "w.pth", cacheMemory: 1, cacheDisk: 2 };
  assertEquals(optionDifferences(config, { ...config, ...free }), []);
  assertEquals(optionDifferences(config, { ...config, epochs: [9], learningRate: [2] }), [
    "--epochs 9 instead of 3",
    "--lr 2 instead of 0.003",
  ]);
});

Deno.test("ranks of the encoder alone go with the rows that they stand beside", () => {
  for (const other of [["--resume", "results/x"], ["--sweep", "ranks"]]) {
    assertThrows(
      () => readOptions(["--encoder-ranks", "4", ...other]),
      InputError,
      `--encoder-ranks does not go with ${other[0]}`,
    );
  }
});

Deno.test("a study with rows of WiSE-FT as earlier versions had them does not go on, forced or not", () => {
  const options = readOptions(["--resume", "results/x", "--force"]);
  const row = { name: "peft", kind: "peft" } as const;
  const begun = {
    ...options,
    experiments: [row, { ...row, name: "peft_wise_0_5", wiseFt: { of: "peft", alpha: 0.5 } }],
    command: "./run experiments",
    checkpointMinutes: 5,
    leaseSeconds: 60,
    tensorboard: true,
    ...{ code: "", weights: "", data: {}, machine: "" },
    seeds: null,
    splitSeeds: [],
  };
  assertThrows(
    () => changePlan("results/x", { begun, options }),
    InputError,
    "results/x was begun by an earlier version",
  );
});

Deno.test({
  name: "the command of a table is pasted into a shell as it was, whatever a folder is called",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const names = [
      "a b",
      "$(id)`id`",
      "it's",
      '"',
      "\\n",
      "a\u001b]0;x\u0007\n\u202eb\u00e9",

      "!!",
    ];
    for (const name of names) {
      const asked = readCommand(commands.experiments, ["--data", name])!;
      const words = asked.line.replace(/^.\/run experiments/, "");
      const { stdout } = await new Deno.Command("bash", {
        args: ["-c", `printf '%s\\0' ${words}`],
      }).output();
      assertEquals(new TextDecoder().decode(stdout).split("\0").slice(0, 2), ["--data", name]);
    }
  },
});

Deno.test("a pipe in the place of a --config file is refused", async () => {
  const pipe = await Deno.makeTempFile();
  await Deno.remove(pipe);
  if (!(await new Deno.Command("mkfifo", { args: [pipe] }).output()).success) return;
  assertThrows(() => readOptions(["--config", pipe]), InputError, "it is no file");
  await Deno.remove(pipe);
});

Deno.test("options of an engine that is not asked for are refused", () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ partition: "gpu" }, /--partition goes with --engine slurm/],
    [{ workers: 2 }, /--workers goes with --engine local/],
    [{ engine: "local", atOnce: 3 }, /--at-once does not go with --engine local, but with slurm/],
    [{ engine: "slurm", workers: 2 }, /--workers does not go with --engine slurm, but with local/],
    [
      { engine: "local", resume: "my study" },
      /submit 'my study' --engine local goes on/,
    ],
    [{ engine: "slurm", dryRun: true }, /--engine does not go with --dry-run/],
  ];
  for (const [given, says] of cases) {
    assertMatch(assertThrows(() => submitOptionsOf(given), InputError).message, says);
  }
  const { engine, workers, cpus } = submitOptionsOf({ engine: "local", workers: 2, side: 64 });
  assertEquals([engine, workers, cpus], ["local", 2, null]);
  assertEquals(submitOptionsOf({ side: 64, resume: "study" }).engine, null);
});

Deno.test("a path in a command that a message names can be pasted", () => {
  assertEquals(shellWord("results/men-2:1"), "results/men-2:1");
  assertEquals(shellWord("my study's"), "'my study'\\''s'");
  assertEquals(shellWord("a\nb"), "$'a\\x0ab'");
});
