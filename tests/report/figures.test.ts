import { assert, assertEquals } from "@std/assert";
import { parseHTML } from "linkedom";
import { dotsFigure, linesFigure, rankFigure } from "../../lib/report/figures.ts";
import { outlinePath } from "../../lib/report/slice_view.ts";
import { page, paper } from "../../lib/report/palette.ts";
import { placementMap } from "../../lib/report/placement_map.ts";

interface Element {
  getAttribute(name: string): string | null;
  readonly textContent: string;
}

function select(svg: string, selector: string): Element[] {
  const { document } = parseHTML(svg) as unknown as {
    document: { querySelectorAll(selector: string): Iterable<Element> };
  };
  return [...document.querySelectorAll(selector)];
}

const score = (mean: number) => ({
  mean,
  sd: 0.1,
  n: 9,
  interval: [mean - 0.02, mean + 0.02] as const,
});

function lines(count: number) {
  return Array.from({ length: count }, (_, i) => ({
    name: `model ${i}`,
    scores: [0.9, 0.8, 0.7].map((mean) => score(mean - 0.02 * i)),
  }));
}

const options = { places: [0, 10, 40], xLabel: "Jitter", yLabel: "Dice" };

/** [x, y] of each vertex of a line. */
function vertices(path: Element): number[][] {
  return path.getAttribute("d")!.slice(1).split("L").map((pair) => pair.split(",").map(Number));
}

Deno.test("lines lie where their values are, and each differs from the others without colour", () => {
  const svg = linesFigure({ ...options, lines: lines(5) }, paper);
  const paths = select(svg, "path[aria-label=line]");
  assertEquals(paths.length, 5);
  const drawn = paths.map(vertices);
  for (const line of drawn) {
    assert(line[0][1] < line[1][1] && line[1][1] < line[2][1], "Dice falls, y grows");
    const [a, b] = [line[1][0] - line[0][0], line[2][0] - line[1][0]];
    assert(Math.abs(b / a - 3) < 0.01, "the places are to scale");
  }
  for (let i = 1; i < 5; i++) assert(drawn[i][0][1] > drawn[i - 1][0][1]);
  const groups = select(svg, "g[aria-label=line]").map((group) =>
    group.getAttribute("stroke-dasharray")
  );
  assertEquals(new Set(groups).size, 5);
});

Deno.test("more than seven models have a panel each, with two references in all of them", () => {
  const svg = linesFigure({ ...options, lines: lines(9) }, paper);
  assertEquals(select(svg, "path[aria-label=line]").length, 7);
  assertEquals(select(svg, "path[aria-label=reference]").length, 14);
  for (let i = 2; i < 9; i++) {
    assert(select(svg, "text").some(({ textContent }) => textContent === `model ${i}`));
  }
});

Deno.test("a row has a dot in each panel that it was scored in", () => {
  const svg = dotsFigure({
    rows: [
      { name: "A", scores: [score(0.5), score(0.7)] },
      { name: "B", scores: [score(0.6), undefined] },
      { name: "box", scores: [score(0.55), undefined], trivial: true },
    ],
    panels: ["tight", "none"],
    xLabel: "Dice",
    ownScales: true,
  }, paper);
  assertEquals(select(svg, "circle").length, 3);
  assert(!svg.includes("NaN"));
});

Deno.test("ranks are in order, and the models without rank are ruled through", () => {
  const svg = rankFigure({
    series: [{ name: "qkv", ranks: [4, 16], scores: [[score(0.7), score(0.8)]] }],
    panels: ["tight"],
    rules: [{ name: "Vanilla", scores: [score(0.6)] }],
  }, paper);
  const [line] = select(svg, "path[aria-label=line]").map(vertices);
  assert(line[0][0] < line[1][0] && line[0][1] > line[1][1]);
  assert(select(svg, "text").some(({ textContent }) => textContent === "Vanilla"));
});

Deno.test("a page's picture names no colour of its own", () => {
  const svg = linesFigure({ ...options, lines: lines(3) }, page);
  assert(!/(stroke|fill)="#/.test(svg));
});

Deno.test("the map marks adapters by layer, whole training by hatching, and the rest as frozen", () => {
  const block = (n: number, adapters: Record<string, number>, trained = 0) => ({
    part: `image_encoder.blocks.${n}`,
    parameters: 10,
    trained,
    adapters,
  });
  const svg = placementMap({
    rows: [
      { name: "A", parts: [block(0, { "attn.qkv": 4 }), block(1, {})], figures: ["80.1"] },
      {
        name: "B",
        parts: [block(0, { "attn.qkv": 4, "mlp.lin1": 4 }), block(1, {}, 10)],
        figures: ["81.2"],
      },
    ],
    figures: ["tight box"],
  }, paper);
  const fills = select(svg, "rect").map((rect) => rect.getAttribute("fill"));
  const count = (fill: string) => fills.filter((own) => own === fill).length;
  // Each once more in the key.
  assertEquals(count(paper.series[1]), 3 + 1);
  assertEquals(count("url(#placement-hatch)"), 1 + 1);
  assertEquals(count("none"), 3 + 1);
});

Deno.test("an outline is closed lines along every edge between set and unset pixels", () => {
  const width = 5;
  const mask = Uint8Array.from([
    ...[1, 1, 1, 0, 0],
    ...[1, 0, 1, 0, 0],
    ...[1, 1, 1, 0, 0],
    ...[0, 0, 0, 1, 0], // touches the ring at a corner
  ]);
  const path = outlinePath(mask, width);
  const closed = path.split("z").slice(0, -1);
  let length = 0;
  for (const line of closed) {
    let [x, y] = [0, 0];
    for (const [, axis, steps] of line.matchAll(/([hv])(-?\d+)/g)) {
      length += Math.abs(Number(steps));
      if (axis === "h") x += Number(steps);
      else y += Number(steps);
    }
    assertEquals([x, y], [0, 0], "a line does not come back");
  }
  assertEquals(length, 12 + 4 + 4);
  assertEquals(closed.length, 3);
  assertEquals(outlinePath(new Uint8Array(20), width), "");
});
