import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseHTML } from "linkedom";
import { bestEpoch, type Curve, lossCurves as draw } from "../../lib/report/loss_curves.ts";
import { paper } from "../../lib/report/palette.ts";
import type { EpochMetrics } from "../../lib/train/training.ts";

const lossCurves = (runs: readonly Curve[]) => draw(runs, paper);

/** A run whose validation Dice are given; the other figures follow from them. */
function run(name: string, validationDice: number[]): Curve {
  return {
    name,
    metrics: validationDice.map((dice, index): EpochMetrics => ({
      epoch: index + 1,
      trainLoss: 1 - dice,
      trainDice: dice + 0.01,
      validationLoss: 1.1 - dice,
      validationDice: dice,
      learningRate: 1e-3,
      steps: 1,
      seconds: 1,
    })),
  };
}

interface Element {
  getAttribute(name: string): string | null;
  textContent: string;
}

/** The elements of an SVG that match a selector. */
function select(svg: string, selector: string): Element[] {
  const { document } = parseHTML(svg) as unknown as {
    document: { querySelectorAll(selector: string): Iterable<Element> };
  };
  return [...document.querySelectorAll(selector)];
}

/** The vertices of every line of a split, `d` being "M x,y L x,y …". */
function vertices(svg: string, split: string): number[][][] {
  return select(svg, `path[aria-label=${split}]`).map((path) =>
    path.getAttribute("d")!.slice(1).split("L").map((pair) => pair.split(",").map(Number))
  );
}

const runs = [run("PEFT", [0.6, 0.8, 0.7]), run("LoRA-16", [0.5, 0.7, 0.9])];

Deno.test("the best epoch is that of the highest validation Dice, the first of equals", () => {
  assertEquals(bestEpoch(run("", [0.5, 0.9, 0.9, 0.7]).metrics)?.epoch, 2);
  assertEquals(bestEpoch([]), undefined);
});

Deno.test("each run has a training and a validation line of loss and of Dice", () => {
  const svg = lossCurves(runs);
  for (const split of ["training", "validation"]) {
    const lines = vertices(svg, split);
    assertEquals(lines.map((line) => line.length), [3, 3, 3, 3]);
  }
  for (const { name } of runs) {
    assertEquals(select(svg, "text").filter((text) => text.textContent === name).length, 1);
  }
});

Deno.test("lines go where their values are: losses fall, the first run's Dice turns back", () => {
  // SVG's y grows downwards; the loss panels come first, then the Dice panels
  const [, loraLoss, peftDice] = vertices(lossCurves(runs), "validation")
    .map((line) => line.map(([, y]) => y));
  assert(loraLoss[0] < loraLoss[1] && loraLoss[1] < loraLoss[2]);
  assert(peftDice[1] < peftDice[0] && peftDice[1] < peftDice[2] && peftDice[2] < peftDice[0]);
});

Deno.test("validation differs from training without colour: dashes and hollow markers", () => {
  const svg = lossCurves(runs);
  const dashes = select(svg, "g[aria-label=line]").map((group) =>
    group.getAttribute("stroke-dasharray")
  );
  // Loss and Dice of two runs, each with a line of training and of validation.
  assertEquals(dashes, [0, 1, 2, 3].flatMap(() => [null, "5 3"]));
  const hollow = select(svg, "g[aria-label=dot][fill='#ffffff'] circle");
  assertEquals(hollow.length, 2 * 2 * 3);
});

Deno.test("each run's best epoch is marked and named", () => {
  const svg = lossCurves(runs);
  const texts = select(svg, "text").map((text) => text.textContent);
  assert(texts.includes("best 0.800, epoch 2"));
  assert(texts.includes("best 0.900, epoch 3"));
});

Deno.test("early stopping is marked where it ended a training or would have, and in the legend", () => {
  const marks = (svg: string) =>
    select(svg, "g[stroke-dasharray='6 3'] line[aria-label='early stopping']")
      .map((line) => Number(line.getAttribute("x1")));
  const [went, ended] = runs;
  const svg = lossCurves([
    { ...went, earlyStoppingEpoch: 2 },
    { ...ended, earlyStoppingEpoch: 3 },
    { ...run("LoRA-32", [0.5, 0.6, 0.7]), earlyStoppingEpoch: null },
  ]);
  const [peft, lora] = vertices(svg, "validation").map((line) => line.map(([x]) => x));
  assertEquals(marks(svg), [peft[1], lora[2], peft[1], lora[2]], "in losses and in Dice");
  const texts = select(svg, "text").map(({ textContent }) => textContent);
  assertEquals(texts.filter((text) => text === "early stopping").length, 1);

  const without = lossCurves(runs);
  assertEquals(marks(without), []);
  assert(!without.includes("early stopping"));
});

Deno.test("a run without training Dice has no such line, and an untrained run no column", () => {
  const { name, metrics } = run("LoRA-16", [0.5, 0.7]);
  const bare = { name, metrics: metrics.map((epoch) => ({ ...epoch, trainDice: NaN })) };
  const svg = lossCurves([{ name: "Vanilla", metrics: [] }, bare]);
  assertEquals(vertices(svg, "training").length, 1);
  assertEquals(vertices(svg, "validation").length, 2);
  assert(!svg.includes("Vanilla"));
});

Deno.test("one epoch is drawn as points and fifty without markers", () => {
  assertStringIncludes(lossCurves([run("LoRA-16", [0.5])]), "best 0.500, epoch 1");
  const long = lossCurves([run("LoRA-64", Array.from({ length: 50 }, (_, i) => i / 50))]);
  assertEquals(select(long, "circle").length, 0);
});

Deno.test("the SVG is the same each time and takes nothing from outside", () => {
  const svg = lossCurves(runs);
  assertEquals(svg, lossCurves(runs));
  assert(!/<style|href=|url\(/.test(svg));
});

Deno.test("a run's name cannot break the SVG", () => {
  const svg = lossCurves([run('a<b & "c"', [0.5, 0.6])]);
  assert(!svg.includes("a<b"));
});

Deno.test("without any trained run there is nothing to draw", () => {
  assertThrows(() => lossCurves([{ name: "Vanilla", metrics: [] }]), RangeError, "no run");
});
