import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { bootstrapInterval } from "../../lib/stats/bootstrap.ts";
import { compareModels } from "../../lib/stats/compare.ts";
import { holm } from "../../lib/stats/holm.ts";
import { normalTail } from "../../lib/stats/normal.ts";
import { stratumOf, tertiles } from "../../lib/stats/strata.ts";
import { mean, type Observation, quantile } from "../../lib/stats/summary.ts";
import { wilcoxonSignedRank } from "../../lib/stats/wilcoxon.ts";
import { Random } from "../../lib/random.ts";
import fixtures from "./fixtures/statistics.json" with { type: "json" };

Deno.test("Wilcoxon's statistic and p are scipy's, exact and by the normal approximation", () => {
  const methods = new Set<string>();
  for (const { differences, statistic, p, method } of fixtures.wilcoxon) {
    const found = wilcoxonSignedRank(differences);
    assertEquals(found.method, method);
    assertAlmostEquals(found.statistic, statistic, 1e-9);
    assertAlmostEquals(found.p / p, 1, 1e-9, `n = ${differences.length}`);
    methods.add(method);
  }
  assertEquals([...methods].sort(), ["exact", "normal"]);
});

Deno.test("with ties the exact p counts every assignment of signs", () => {
  const random = new Random(1);
  for (let round = 0; round < 40; round++) {
    const n = 1 + random.int(9);
    const differences = Array.from({ length: n }, () => random.int(7) - 2).filter((d) => d !== 0);
    // Ranks by their definition: those smaller, and half of those equal, itself among them.
    const sizes = differences.map(Math.abs);
    const ranks = sizes.map((size) =>
      sizes.filter((other) => other < size).length +
      (sizes.filter((other) => other === size).length + 1) / 2
    );
    const total = ranks.reduce((a, b) => a + b, 0);
    const smaller = (signs: (i: number) => boolean) => {
      const positive = ranks.reduce((sum, rank, i) => sum + (signs(i) ? rank : 0), 0);
      return Math.min(positive, total - positive);
    };
    const observed = smaller((i) => differences[i] > 0);
    let extreme = 0;
    for (let bits = 0; bits < 2 ** differences.length; bits++) {
      if (smaller((i) => (bits >> i & 1) === 1) <= observed) extreme++;
    }
    const { p, statistic } = wilcoxonSignedRank(differences);
    assertAlmostEquals(statistic, differences.length ? observed : 0, 1e-12);
    assertAlmostEquals(p, extreme / 2 ** differences.length, 1e-12);
  }
});

Deno.test("without any difference there is no evidence", () => {
  assertEquals(wilcoxonSignedRank([]).p, 1);
  assertEquals(wilcoxonSignedRank([0, 0, 0]), { statistic: 0, p: 1, n: 0, method: "exact" });
});

Deno.test("the normal distribution's tail is scipy's, near and far", () => {
  for (const { z, tail } of fixtures.normal) {
    assertAlmostEquals(normalTail(z) / tail, 1, 1e-12, `z = ${z}`);
  }
});

Deno.test("Holm's adjustment steps down, in the order given, and never above 1", () => {
  for (const { p, adjusted } of fixtures.holm) {
    holm(p).forEach((value, i) => assertAlmostEquals(value, adjusted[i], 1e-12));
  }
  assertEquals(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06]);
  assertEquals(holm([0.9, 0.8]), [1, 1]);
  assertEquals(holm([]), []);
});

/** `slices` values for each of `patients`, which differ more between patients than within. */
function clustered(patients: number, slices: number): Observation[] {
  const random = new Random("clustered");
  return Array.from({ length: patients }, (_, i) => {
    const centre = random.normal();
    return Array.from({ length: slices }, () => ({
      group: `patient ${i}`,
      value: centre + 0.1 * random.normal(),
    }));
  }).flat();
}

Deno.test("the bootstrap interval is as wide as the spread between patients, not between slices", () => {
  const observations = clustered(40, 25);
  const centre = mean(observations.map(({ value }) => value));
  const [low, high] = bootstrapInterval(observations)!;
  // With slices of equal number the bootstrap's variance is that of the patients' means, / n.
  const groups = Array.from(
    { length: 40 },
    (_, i) =>
      mean(observations.filter(({ group }) => group === `patient ${i}`).map(({ value }) => value)),
  );
  const sd = Math.sqrt(mean(groups.map((value) => (value - centre) ** 2)) / 40);
  assertAlmostEquals(high - centre, 1.96 * sd, 0.1 * sd);
  assertAlmostEquals(centre - low, 1.96 * sd, 0.1 * sd);
  const independent = observations.map(({ value }, i) => ({ group: String(i), value }));
  const [from, to] = bootstrapInterval(independent)!;
  assert(high - low > 4 * (to - from), "slices of one patient count as one patient");
});

Deno.test("every resample of two patients is counted, and the seed alone decides", () => {
  const observations = [{ group: "a", value: 0 }, { group: "a", value: 1 }, {
    group: "b",
    value: 4,
  }];
  // aa, ab, ba, bb have the means 0.5, 5/3, 5/3 and 4.
  assertEquals(bootstrapInterval(observations), [0.5, 4]);
  const [low, high] = bootstrapInterval(observations, { confidence: 0.4 })!;
  assertAlmostEquals(low, 5 / 3);
  assertAlmostEquals(high, 5 / 3);
  const many = clustered(7, 3);
  assertEquals(bootstrapInterval(many, { seed: 1 }), bootstrapInterval(many, { seed: 1 }));
  assert(String(bootstrapInterval(many, { seed: 1 })) !== String(bootstrapInterval(many)));
  assertEquals(bootstrapInterval(observations.slice(0, 2)), null);
});

Deno.test("models are paired slice by slice, tested by patient and adjusted as one family", () => {
  const model = (values: number[]) =>
    new Map(values.map((value, i) => [`slice ${i}`, { group: `patient ${i >> 1}`, value }]));
  const vanilla = [0.5, 0.6, 0.7, 0.8, 0.4, 0.6, 0.3, 0.5];
  const models = new Map([
    ["Vanilla", model(vanilla)],
    ["PEFT", model(vanilla.map((value, i) => value + 0.01 * (i + 1)))],
    ["LoRA", model([...vanilla.map((value) => value + 0.2), 9])], // one slice that no other has
  ]);
  const found = compareModels(models, { references: ["Vanilla", "PEFT", "absent"] });
  assertEquals(
    found.map(({ model, reference }) => `${model} - ${reference}`),
    ["PEFT - Vanilla", "LoRA - Vanilla", "LoRA - PEFT"],
  );
  const [peft, lora] = found;
  assertAlmostEquals(peft.difference, 0.045);
  assertAlmostEquals(lora.difference, 0.2);
  // Four patients, all better: two of the sixteen signs are as extreme.
  for (const { p, pHolm, patients } of found) {
    assertEquals(patients, 4);
    assertAlmostEquals(p, 0.125);
    assertAlmostEquals(pHolm, 0.375);
  }
  assert(peft.interval![0] >= 0.015 && peft.interval![1] <= 0.075);
});

Deno.test("tertiles part sizes into thirds, edges to the smaller", () => {
  const sizes = [9, 1, 2, 3, 8, 7, 4, 5, 6];
  const edges = tertiles(sizes);
  const count = (name: string) => sizes.filter((size) => stratumOf(size, edges) === name).length;
  assertEquals([count("small"), count("medium"), count("large")], [3, 3, 3]);
  assertEquals(stratumOf(5, [5, 5]), "small");
  assertEquals(stratumOf(6, [5, 6]), "medium");
  assertEquals(quantile([1, 2, 3, 4], 0.5), 2.5);
});
