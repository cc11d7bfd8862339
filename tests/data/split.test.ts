import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import {
  foldPatients,
  overlap,
  partition,
  type Split,
  splitPatients,
} from "../../lib/data/split.ts";
import { InputError } from "../../lib/errors.ts";

const patients = (n: number) => Array.from({ length: n }, (_, i) => `SET-${100 + i}`);
const sizes = (split: Split) => [
  split.train.length,
  split.validation.length,
  split.test.length,
];

Deno.test("no split of any size or seed parts a patient, and each part has at least one", () => {
  for (let n = 3; n < 40; n++) {
    for (let seed = 0; seed < 5; seed++) {
      const split = splitPatients(patients(n), { seed });
      assertEquals(overlap(split), []);
      const all = [...split.train, ...split.validation, ...split.test].sort();
      assertEquals(all, patients(n));
      assertEquals(sizes(split).every((size) => size >= 1), true);
      assertEquals(split.validationSharesTrainingPatients, false);
    }
  }
});

Deno.test("the default shares of 52 patients are 37, 5 and 10", () => {
  assertEquals(sizes(splitPatients(patients(52), { seed: 1 })), [37, 5, 10]);
});

Deno.test("lopsided fractions still leave a patient for each part", () => {
  const split = (train: number, validation: number, test: number) =>
    sizes(splitPatients(patients(4), { seed: 1, fractions: { train, validation, test } }));
  assertEquals(split(0.02, 0.49, 0.49), [1, 2, 1]);
  assertEquals(split(0.02, 0.96, 0.02), [1, 2, 1]);
  assertEquals(split(0.02, 0.02, 0.96), [1, 1, 2]);
  assertEquals(split(0.98, 0.01, 0.01), [2, 1, 1]);
});

Deno.test("the seed alone decides: not the order, not repetitions", () => {
  const split = splitPatients(patients(20), { seed: 3 });
  const repeated = [...patients(20).reverse(), ...patients(20)];
  assertEquals(splitPatients(repeated, { seed: 3 }), split);
  assertNotEquals(splitPatients(patients(20), { seed: 4 }).test, split.test);
});

Deno.test("one patient or impossible fractions are refused", () => {
  assertThrows(() => splitPatients(["a", "a"], { seed: 1 }), InputError, "needs 2 patients");
  for (
    const fractions of [
      { train: 0.7, validation: 0, test: 0.3 },
      { train: 0.7, validation: 0.2, test: 0.2 },
      { train: NaN, validation: 0.5, test: 0.5 },
    ]
  ) {
    assertThrows(() => splitPatients(patients(9), { seed: 1, fractions }), InputError, "sum to 1");
  }
});

Deno.test("over the folds every patient is tested once, and none is in two parts of a fold", () => {
  for (const [n, folds] of [[2, 2], [3, 2], [5, 5], [23, 4], [52, 5]]) {
    const splits = Array.from(
      { length: folds },
      (_, i) => foldPatients(patients(n), { seed: 1, folds, fold: i + 1 }),
    );
    assertEquals(splits.flatMap(({ test }) => test).sort(), patients(n));
    for (const split of splits) {
      assertEquals(overlap(split), []);
      const all = [...split.train, ...split.validation, ...split.test].sort();
      assertEquals(all, patients(n));
      assertEquals(split.train.length >= 1, true);
      assertEquals(split.validationSharesTrainingPatients, split.validation.length === 0);
      assertEquals(Math.abs(split.test.length - n / folds) < 1, true);
    }
  }
  const [first, second] = [1, 2].map((fold) =>
    foldPatients(patients(52), { seed: 1, folds: 5, fold })
  );
  assertEquals([first.train.length, first.validation.length, first.test.length], [36, 5, 11]);
  assertEquals(first.validation.every((patient) => second.test.includes(patient)), true);
});

Deno.test("impossible folds are refused", () => {
  const refuse = (folds: number, fold: number, says: string) =>
    assertThrows(() => foldPatients(patients(4), { seed: 1, folds, fold }), InputError, says);
  refuse(1, 1, "give 2 to 4");
  refuse(5, 1, "5 folds are not possible with 4 patients");
  refuse(4, 5, "no fold 5");
  refuse(4, 0, "no fold 0");
});

const items = (names: string[], each: number) =>
  names.flatMap((patient) => Array.from({ length: each }, (_, index) => ({ patient, index })));

Deno.test("slices go where their patients are", () => {
  const split = splitPatients(patients(10), { seed: 1 });
  const parts = partition(items(patients(11), 3), split);
  assertEquals([parts.train.length, parts.validation.length, parts.test.length], [21, 3, 6]);
  assertEquals(parts.test.every(({ patient }) => split.test.includes(patient)), true);
});

Deno.test("with two patients validation holds out slices of the training patient, and says so", () => {
  const split = splitPatients(["a", "b"], { seed: 1 });
  assertEquals(sizes(split), [1, 0, 1]);
  assertEquals(split.validationSharesTrainingPatients, true);
  const parts = partition(items(["a", "b"], 16), split);
  assertEquals([parts.train.length, parts.validation.length, parts.test.length], [14, 2, 16]);
  assertEquals(parts.validation.map(({ index }) => index), [14, 15]);
  assertEquals(parts.validation[0].patient, split.train[0]);
  assertEquals(parts.test.every(({ patient }) => patient === split.test[0]), true);
  assertThrows(() => partition(items(["a", "b"], 1), split), InputError, "train part");
});

Deno.test("a patient in two parts is found", () => {
  const split = splitPatients(patients(9), { seed: 1 });
  assertEquals(overlap({ ...split, test: [...split.test, split.train[0]] }), [split.train[0]]);
});
