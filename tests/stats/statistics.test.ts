import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { bootstrapInterval, summarizeByPatient } from "../../lib/stats/bootstrap.ts";
import { compareModels } from "../../lib/stats/compare.ts";
import { holm } from "../../lib/stats/holm.ts";
import { normalTail } from "../../lib/stats/normal.ts";
import { stratumOf, tertiles } from "../../lib/stats/strata.ts";
import { mean, type Observation, quantile, standardDeviation } from "../../lib/stats/summary.ts";
import { wilcoxonSignedRank } from "../../lib/stats/wilcoxon.ts";
import { Random } from "../../lib/random.ts";
import intervals from "./fixtures/intervals.json" with { type: "json" };
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

Deno.test("a patient is one number, however many slices it is the mean of", () => {
  const observations = clustered(40, 25);
  const patients = [...Map.groupBy(observations, ({ group }) => group).values()].map((own) =>
    mean(own.map(({ value }) => value))
  );
  const score = summarizeByPatient(observations);
  assertEquals(score, {
    mean: mean(patients),
    sd: standardDeviation(patients),
    n: 40,
    interval: bootstrapInterval(patients),
  });
  // More slices of a patient give that patient no more weight.
  const more = [...observations, ...observations.filter(({ group }) => group === "patient 3")];
  const again = summarizeByPatient(more);
  assertAlmostEquals(again.mean, score.mean, 1e-12);
  assertAlmostEquals(again.sd, score.sd, 1e-12);
  assertEquals(again.n, 40);
});

Deno.test("intervals are those of scipy's bootstrap of the studentised mean", () => {
  for (const { values, studentised, bca } of intervals) {
    const found = bootstrapInterval(values, { resamples: 200_000 })!;
    const width = studentised[1] - studentised[0];
    found.forEach((bound, end) => {
      // Of two sets of resamples: their quantiles differ by chance.
      assertAlmostEquals(bound, studentised[end], 0.012 * width, `n = ${values.length}`);
      assertAlmostEquals(bound, bca[end], 0.35 * width, `n = ${values.length}, BCa`);
    });
  }
});

Deno.test("there is no interval of fewer than ten patients, nor of patients who score alike", () => {
  const values = clustered(12, 1).map(({ value }) => value);
  assertEquals(bootstrapInterval(values.slice(0, 9)), null);
  assertEquals(bootstrapInterval(values.slice(0, 10))?.length, 2);
  assertEquals(bootstrapInterval(Array(20).fill(0.3)), null);
  // With one that differs, every third resample has no spread.
  assertEquals(bootstrapInterval([...Array(19).fill(0), 0.5], { bounds: [0, 1] }), null);
});

Deno.test("the seed alone decides, more confidence is wider, and no end is beyond the bounds", () => {
  const values = clustered(14, 1).map(({ value }) => value);
  assertEquals(bootstrapInterval(values, { seed: 1 }), bootstrapInterval(values, { seed: 1 }));
  assert(String(bootstrapInterval(values, { seed: 1 })) !== String(bootstrapInterval(values)));
  const [low, high] = bootstrapInterval(values)!;
  const [inner, outer] = bootstrapInterval(values, { confidence: 0.8 })!;
  assert(low < inner && inner < mean(values) && mean(values) < outer && outer < high);
  assertEquals(bootstrapInterval(values, { bounds: [low + 0.01, high - 0.01] }), [
    low + 0.01,
    high - 0.01,
  ]);
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
  const found = compareModels(models, {
    references: new Map([["PEFT", ["Vanilla", "absent"]], ["LoRA", ["Vanilla", "PEFT"]]]),
  });
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
  assertEquals(peft.interval, null); // of four patients
});

Deno.test("difference, interval and p are of the same patients' means, not of slices", () => {
  const random = new Random("paired");
  // Patient 0 has a hundred slices on which the model is worse; the twelve others are better.
  const slices = [...Array(100).fill(0), ...Array.from({ length: 12 }, (_, i) => i + 1)];
  const model = (value: (patient: number) => number) =>
    new Map(slices.map((patient, i) => [`${i}`, { group: `${patient}`, value: value(patient) }]));
  const models = new Map([
    ["A", model((patient) => patient === 0 ? -1 : 1 + 0.1 * random.normal())],
    ["B", model(() => 0)],
  ]);
  const [{ difference, interval, p, patients }] = compareModels(models, {
    references: new Map([["A", ["B"]]]),
  });
  const means = slices.slice(100).map((_, i) => models.get("A")!.get(`${100 + i}`)!.value);
  assertAlmostEquals(difference, (means.reduce((a, b) => a + b, 0) - 1) / 13, 1e-12);
  assertEquals(interval, bootstrapInterval([-1, ...means]));
  assertEquals(patients, 13);
  assertEquals(p, wilcoxonSignedRank([-1, ...means]).p);
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
