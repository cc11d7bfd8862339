import { assertEquals, assertThrows } from "@std/assert";
import { parseConfig, parseOptions } from "../../lib/study/schema.ts";
import { AUGMENT_DEFAULTS } from "../../lib/data/augment_options.ts";
import { InputError } from "../../lib/errors.ts";

Deno.test("--augment names what is done, flips included; without it slices are flipped alone", () => {
  const read = (...args: string[]) => {
    const { config: { flip, augment, augmentVariants }, given } = parseOptions(args);
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
  const { config } = parseOptions(["--augment", "all", "--augment-variants", "2"]);
  assertEquals(parseConfig(JSON.parse(JSON.stringify(config)), "config.json"), config);
  const { augment: _, augmentVariants: __, ...before } = parseOptions([]).config;
  assertEquals(parseConfig(before, "config.json"), parseOptions([]).config);
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
    assertThrows(() => parseOptions(args), InputError, message);
  }
});

Deno.test("--pretrained-lr is kept in the config; without it pretrained weights take --lr", () => {
  const read = (...args: string[]) => {
    const { config, given } = parseOptions(args);
    assertEquals(parseConfig(JSON.parse(JSON.stringify(config)), "config.json"), config);
    return [config.learningRate, config.pretrainedLearningRate, given.pretrainedLearningRate];
  };
  assertEquals(read("--lr", "2e-3"), [2e-3, null, undefined]);
  assertEquals(read("--lr", "2e-3", "--pretrained-lr", "2e-4"), [2e-3, 2e-4, 2e-4]);
  const { pretrainedLearningRate: _, ...before } = parseOptions([]).config;
  assertEquals(parseConfig(before, "config.json"), parseOptions([]).config);
  for (const value of ["0", "-1e-4"]) {
    assertThrows(
      () => parseOptions([`--pretrained-lr=${value}`]),
      InputError,
      `--pretrained-lr cannot be ${value}`,
    );
  }
  assertThrows(() => parseOptions(["--pretrained-lr=fast"]), InputError, 'not "fast"');
});

Deno.test("--wise-ft takes shares between none and all, and no start whose update is something", () => {
  assertEquals(parseOptions([]).wiseFt, []);
  assertEquals(parseOptions(["--wise-ft", "0.5,0.75"]).wiseFt, [0.5, 0.75]);
  for (
    const [args, message] of [
      [["--wise-ft", "1"], "--wise-ft cannot be 1: give less than 1"],
      [["--wise-ft", "0"], "--wise-ft cannot be 0"],
      [["--wise-ft", "0.5,0.5"], "--wise-ft cannot be 0.5,0.5: it names a share twice"],
      [["--wise-ft", "half"], '--wise-ft takes a number, not "half"'],
      [["--wise-ft", "0.5", "--init", "pissa"], "does not go with --init pissa"],
      [["--wise-ft", "0.5", "--resume", "results/x"], "does not go with --resume"],
    ] as const
  ) {
    assertThrows(() => parseOptions(args), InputError, message);
  }
});
