import { assertAlmostEquals, assertEquals } from "@std/assert";
import { bootstrapInterval } from "../../lib/stats/bootstrap.ts";
import type { ModelObservations } from "../../lib/stats/compare.ts";
import { type Claim, judge } from "../../lib/stats/verdict.ts";
import { wilcoxonSignedRank } from "../../lib/stats/wilcoxon.ts";

/** Two slices of each patient, whose values differ by what `difference` says. */
function paired(
  patients: number,
  difference: (patient: number) => number,
): { own: ModelObservations; other: ModelObservations } {
  const [own, other] = [new Map(), new Map()];
  for (let patient = 0; patient < patients; patient++) {
    for (const slice of [0, 1]) {
      const value = 0.8 + 0.01 * ((7 * patient + 3 * slice) % 5);
      const [id, group] = [`${patient}/${slice}`, `${patient}`];
      other.set(id, { group, value });
      own.set(id, { group, value: value + difference(patient) + 0.001 * (2 * slice - 1) });
    }
  }
  return { own, other };
}

const spread = (centre: number) => (patient: number) => centre + 0.002 * ((5 * patient) % 7 - 3);

const claim = (
  expected: Claim["expected"],
  options: Partial<Claim> & { patients?: number; centre: number },
): Claim => ({
  expected,
  margin: 0,
  lowerIsBetter: false,
  ...paired(options.patients ?? 16, spread(options.centre)),
  ...options,
});

const verdictOf = (one: Claim) => judge([one])[0].verdict;

Deno.test("a clear difference supports what it agrees with and refutes the contrary", () => {
  assertEquals(verdictOf(claim("greater", { centre: 0.03 })), "supported");
  assertEquals(verdictOf(claim("greater", { centre: -0.03 })), "refuted");
  assertEquals(verdictOf(claim("less", { centre: -0.03 })), "supported");
  assertEquals(verdictOf(claim("less", { centre: 0.03 })), "refuted");
  assertEquals(verdictOf(claim("greater", { centre: 0 })), "undecided");
});

Deno.test("a margin must be exceeded, and no worse means by no more than it", () => {
  assertEquals(verdictOf(claim("greater", { centre: 0.03, margin: 0.02 })), "supported");
  assertEquals(verdictOf(claim("greater", { centre: 0.03, margin: 0.04 })), "refuted");
  assertEquals(verdictOf(claim("greater", { centre: 0.03, margin: 0.03 })), "undecided");
  assertEquals(verdictOf(claim("less", { centre: -0.03, margin: 0.04 })), "refuted");
  assertEquals(verdictOf(claim("no worse", { centre: -0.005, margin: 0.01 })), "supported");
  assertEquals(verdictOf(claim("no worse", { centre: 0.2, margin: 0.01 })), "supported");
  assertEquals(verdictOf(claim("no worse", { centre: -0.01, margin: 0.01 })), "undecided");
  assertEquals(verdictOf(claim("no worse", { centre: -0.03, margin: 0.01 })), "refuted");
});

Deno.test("for a metric of which less is better, no worse looks the other way", () => {
  const distance = { margin: 0.01, lowerIsBetter: true };
  assertEquals(verdictOf(claim("no worse", { centre: 0.005, ...distance })), "supported");
  assertEquals(verdictOf(claim("no worse", { centre: -0.2, ...distance })), "supported");
  assertEquals(verdictOf(claim("no worse", { centre: 0.03, ...distance })), "refuted");
  // "greater" and "less" speak of the value itself.
  assertEquals(verdictOf(claim("less", { centre: -0.03, lowerIsBetter: true })), "supported");
});

Deno.test("few patients decide nothing, however clear the difference", () => {
  assertEquals(verdictOf(claim("greater", { centre: 0.3, patients: 9 })), "undecided");
  assertEquals(verdictOf(claim("greater", { centre: 0.3, patients: 10 })), "supported");
  assertEquals(verdictOf(claim("greater", { centre: 0.3, patients: 1 })), "undecided");
});

Deno.test("the figures are those of the tests they name, adjusted over all hypotheses", () => {
  const claims = [
    claim("greater", { centre: 0.3, patients: 10 }),
    claim("less", { centre: 0.01, patients: 13 }),
  ];
  const [first, second] = judge(claims, { resamples: 500 });
  const means = Array.from({ length: 10 }, (_, patient) => spread(0.3)(patient));
  first.interval!.forEach((bound, end) =>
    assertAlmostEquals(bound, bootstrapInterval(means, { resamples: 500 })![end], 1e-12)
  );
  assertAlmostEquals(first.difference!, means.reduce((a, b) => a + b, 0) / 10, 1e-12);
  assertEquals(first.p, wilcoxonSignedRank(means).p);
  assertEquals([first.p, first.pHolm], [2 ** -9, 2 ** -9]); // 2 / 2^10; the larger of the two ps
  assertEquals([first.patients, first.paired, first.unpaired], [10, 20, 0]);
  assertEquals([second.p, second.pHolm], [2 ** -12, 2 ** -11]);
  assertEquals([first.verdict, second.verdict], ["supported", "refuted"]);
  // Beside enough others of its size it is no longer significant.
  const many = judge(Array(26).fill(claims[0]));
  assertEquals(new Set(many.map(({ verdict }) => verdict)), new Set(["undecided"]));
});

Deno.test("what only one of the two has is counted and left out; nothing in common decides nothing", () => {
  const { own, other } = paired(8, spread(0.1));
  const part = new Map([...own].slice(3));
  const [some] = judge([claim("greater", { centre: 0, own: part, other })]);
  assertEquals([some.paired, some.unpaired], [13, 3]);
  const stranger = new Map([...own].map(([id, value]) => [`other ${id}`, value]));
  const [none] = judge([claim("greater", { centre: 0, own: stranger, other })]);
  assertEquals(none, {
    difference: null,
    interval: null,
    p: 1,
    pHolm: 1,
    patients: 0,
    paired: 0,
    unpaired: 32,
    verdict: "undecided",
  });
});
