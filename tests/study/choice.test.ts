import { assertEquals } from "@std/assert";
import { bestOf, scoresOf, trainingChoices } from "../../lib/study/choice.ts";
import { partsOf } from "../../lib/study/plan.ts";
import { configSchema, DEFAULTS, overridden, settled } from "../../lib/study/schema.ts";
import * as v from "valibot";
import { readOptions } from "../experiments/read_options.ts";

Deno.test("a rate, a number of epochs and a share may each be a list", () => {
  const { config } = readOptions(["--lr", "1e-3,3e-3", "--epochs", "2,4", "--wise-ft", "0.5,1"]);
  assertEquals([config.learningRate, config.epochs, config.wiseFt], [
    [1e-3, 3e-3],
    [2, 4],
    [0.5, 1],
  ]);
  assertEquals(trainingChoices(config), [
    { learningRate: 1e-3, epochs: 2 },
    { learningRate: 1e-3, epochs: 4 },
    { learningRate: 3e-3, epochs: 2 },
    { learningRate: 3e-3, epochs: 4 },
  ]);
  assertEquals(settled(config, { epochs: 4 }).epochs, 4);
  // Pretrained weights' rate keeps its ratio to the first.
  const pretrained = { ...config, pretrainedLearningRate: 2e-4 };
  assertEquals(settled(pretrained).pretrainedLearningRate, 2e-4);
  assertEquals(settled(pretrained, { learningRate: 3e-3 }).pretrainedLearningRate, 6e-4);
  assertEquals(
    settled({ ...config, pretrainedLearningRate: null }, { learningRate: 3e-3 })
      .pretrainedLearningRate,
    null,
  );
  // One value, of a row or of an earlier version's record, is a list of one.
  assertEquals(overridden(DEFAULTS, { epochs: 7 }).epochs, [7]);
  const old = { ...DEFAULTS, epochs: 7, learningRate: 1e-4 };
  const read = v.parse(configSchema, old);
  assertEquals([read.epochs, read.learningRate], [[7], [1e-4]]);
});

Deno.test("the best candidate has the highest score, of those alike the larger share", () => {
  const one = (learningRate: number, wiseFt: number, score: number) => ({
    learningRate,
    epochs: 2,
    wiseFt,
    score,
  });
  const tried = [one(1, 0.5, 0.7), one(1, 1, 0.6), one(2, 0.5, 0.8), one(2, 1, 0.8)];
  assertEquals(bestOf(tried), tried[3]);
  assertEquals([...scoresOf(tried, "learningRate")], [[1, 0.7], [2, 0.8]]);
  assertEquals([...scoresOf(tried, "wiseFt")], [[0.5, 0.8], [1, 0.8]]);
});

Deno.test("the first training seed chooses on each fold, and each further split by itself", () => {
  const of = (values: Partial<Parameters<typeof partsOf>[0]>) =>
    partsOf({ config: DEFAULTS, seeds: null, splitSeeds: [], ...values })
      .map(({ name, chosenBy }) => [name, chosenBy]);
  assertEquals(of({}), [["", null]]);
  assertEquals(of({ seeds: [3, 4], config: { ...DEFAULTS, folds: 2 } }), [
    ["seed_3-fold_1", null],
    ["seed_3-fold_2", null],
    ["seed_4-fold_1", "seed_3-fold_1"],
    ["seed_4-fold_2", "seed_3-fold_2"],
  ]);
  assertEquals(of({ seeds: [3, 4], splitSeeds: [9] }), [
    ["seed_3", null],
    ["seed_4", "seed_3"],
    ["seed_3-split_9", null],
  ]);
});
