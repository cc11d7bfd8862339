import * as Plot from "@observablehq/plot";
import { axisLabel, plotContent } from "../../lib/report/panels.ts";
import { rasterFont } from "../../lib/report/rasterize.ts";
import { escapeXml } from "../../lib/report/svg.ts";

/** A kernel in a roofline picture. */
export interface RooflinePoint {
  /** The kernel and its shape. */
  readonly name: string;
  /** Sort that it is drawn as. */
  readonly sort: "product" | "attention" | "memory";
  /** Floating-point operations. */
  readonly flops: number;
  /** Bytes that must be moved at least. */
  readonly bytes: number;
  /** Its time. */
  readonly milliseconds: number;
}

/** Ceilings of kernels. */
export interface Roofs {
  /** Speeds of computing, in GFLOP/s, by name. */
  readonly compute: readonly { readonly name: string; readonly gflops: number }[];
  /** Speed of memory, in GB/s. */
  readonly memory: { readonly name: string; readonly gigabytes: number };
}

const ink = "#1a1a1a";
const width = 1000;
const height = 560;
const keyWidth = 420;
const margin = { left: 56, right: 20, top: 50, bottom: 48 };

/** Mark of each sort: told apart by shape, and by colour where there is one. */
const LOOKS = {
  product: { symbol: "circle", fill: "#0072b2", label: "matrix products" },
  attention: { symbol: "square", fill: "#ffffff", label: "attention" },
  memory: { symbol: "triangle", fill: "#e69f00", label: "kernels that move" },
} as const;

/**
 * Speed of kernels against their arithmetic intensity, FLOP over byte, on logarithmic axes, under the
 * ceilings of computing and of memory. Points are numbered; a key names them. Readable in black and
 * white.
 *
 * Source: Williams, Waterman and Patterson 2009, "Roofline".
 *
 * @returns The text of an SVG file.
 */
export function roofline(title: string, points: readonly RooflinePoint[], roofs: Roofs): string {
  const drawn = points.filter(({ flops }) => flops > 0).map((point, i): DrawnPoint => ({
    ...point,
    number: i + 1,
    intensity: point.flops / point.bytes,
    gflops: point.flops / point.milliseconds / 1e6,
  }));
  const top = Math.max(...roofs.compute.map(({ gflops }) => gflops));
  const intensities = drawn.map(({ intensity }) => intensity);
  const domain = {
    left: Math.min(0.1, ...intensities) / 1.5,
    right: Math.max(top / roofs.memory.gigabytes, ...intensities) * 3,
    bottom: Math.min(...drawn.map(({ gflops }) => gflops)) / 2,
    upper: top * 1.6,
  };
  const axis = {
    ...axisLabel,
    type: "log",
    tickFormat: (value: number) => String(Number(value.toPrecision(1))),
    grid: true,
  } as const;
  const content = plotContent({
    width: width - keyWidth,
    height,
    marginLeft: margin.left,
    marginRight: margin.right,
    marginTop: margin.top,
    marginBottom: margin.bottom,
    x: {
      ...axis,
      domain: [domain.left, domain.right],
      label: "Arithmetic intensity (FLOP / byte)",
      ticks: 5,
    },
    y: { ...axis, domain: [domain.bottom, domain.upper], label: "Speed (GFLOP/s)", ticks: 4 },
    marks: [
      Plot.frame({ stroke: "#b0b0b0" }),
      ...roofMarks(roofs, domain),
      ...pointMarks(drawn, domain),
    ],
  }, ink);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}" font-family="${rasterFont}" font-size="11" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="14" y="24" font-size="15" font-weight="bold" fill="${ink}">${
      escapeXml(title)
    }</text>`,
    content,
    key(drawn),
    "</svg>\n",
  ].join("\n");
}

/** A kernel with its place in the picture and its number. */
interface DrawnPoint extends RooflinePoint {
  readonly number: number;
  readonly intensity: number;
  readonly gflops: number;
}

/** Ends of the axes: FLOP / byte from left to right, GFLOP/s from the bottom up. */
type Domain = Readonly<Record<"left" | "right" | "bottom" | "upper", number>>;

/** The ceilings of memory and of computing, with their names. */
function roofMarks({ compute, memory }: Roofs, { left, right, bottom }: Domain): Plot.Markish[] {
  const { gigabytes } = memory;
  const top = Math.max(...compute.map(({ gflops }) => gflops));
  const at = { x: "x", y: "y" };
  const slope = [
    { x: Math.max(left, bottom / gigabytes), y: Math.max(bottom, left * gigabytes) },
    { x: top / gigabytes, y: top },
  ];
  const named = { ...at, fill: ink, stroke: "#ffffff", strokeWidth: 4 };
  return [
    Plot.line(slope, { ...at, stroke: ink, strokeWidth: 1.8 }),
    Plot.text([slope[0]], {
      ...named,
      text: () => `${memory.name}, ${gigabytes.toPrecision(3)} GB/s`,
      textAnchor: "start",
      dx: 34,
      dy: -26,
    }),
    ...compute.flatMap(({ name, gflops }, i) => [
      Plot.line([{ x: gflops / gigabytes, y: gflops }, { x: right, y: gflops }], {
        ...at,
        stroke: ink,
        strokeWidth: 1.8,
        strokeDasharray: i > 0 ? "5 3" : undefined,
      }),
      Plot.text([{ x: right, y: gflops }], {
        ...named,
        text: () => `${name}, ${gflops.toPrecision(3)} GFLOP/s`,
        textAnchor: "end",
        dx: -6,
        dy: i > 0 ? -32 : -8, // clear of the kernels just below it
      }),
    ]),
  ];
}

/** The kernels by their sort, and their numbers beside them. */
function pointMarks(points: readonly DrawnPoint[], domain: Domain): Plot.Markish[] {
  const at = { x: "intensity", y: "gflops" };
  return [
    ...Object.entries(LOOKS).map(([sort, { symbol, fill }]) =>
      Plot.dot(points.filter((point) => point.sort === sort), {
        ...at,
        symbol,
        r: 4.5,
        fill,
        stroke: ink,
      })
    ),
    ...besidePoints(points, domain).map(([dx, dy], i) =>
      Plot.text([points[i]], {
        ...at,
        text: ({ number }: DrawnPoint) => String(number),
        dx,
        dy,
        fill: ink,
        stroke: "#ffffff",
        strokeWidth: 3,
      })
    ),
  ];
}

/** Pixels from a point to its number, to either side and above or below. */
const REACH = 12;

/**
 * Offsets of the points' numbers, in pixels from each: on the side of eight that is farthest from other
 * points and from the numbers before it.
 */
export function besidePoints(
  points: readonly { readonly intensity: number; readonly gflops: number }[],
  domain: Domain,
): [dx: number, dy: number][] {
  const across = width - keyWidth - margin.left - margin.right;
  const down = height - margin.top - margin.bottom;
  const share = (value: number, low: number, high: number) =>
    Math.log(value / low) / Math.log(high / low);
  const places = points.map(({ intensity, gflops }): [number, number] => [
    across * share(intensity, domain.left, domain.right),
    -down * share(gflops, domain.bottom, domain.upper),
  ]);
  const taken = [...places];
  return places.map(([x, y]) => {
    const sides = Array.from({ length: 8 }, (_, side): [number, number] => {
      const angle = side * Math.PI / 4;
      return [REACH * Math.cos(angle), REACH * Math.sin(angle)];
    });
    const room = ([dx, dy]: [number, number]) =>
      Math.min(...taken.map(([otherX, otherY]) => {
        const distance = Math.hypot(x + dx - otherX, y + dy - otherY);
        return otherX === x && otherY === y ? Infinity : distance;
      }));
    const [dx, dy] = sides.reduce((best, side) => room(side) > room(best) ? side : best);
    taken.push([x + dx, y + dy]);
    return [dx, dy];
  });
}

/** Numbers, names and speeds of the points, by their sort. */
function key(points: readonly DrawnPoint[]): string {
  const lines: string[] = [];
  const end = (y: number, text: string) =>
    `<text x="${width - 12}" y="${y}" text-anchor="end" fill="${ink}">${text}</text>`;
  let y = 40;
  lines.push(end(y, "GFLOP/s"));
  for (const [sort, { fill, label }] of Object.entries(LOOKS)) {
    const own = points.filter((point) => point.sort === sort);
    if (own.length === 0) continue;
    const x = width - keyWidth + 14;
    const mark = {
      product: `<circle cx="${x}" cy="${y - 4}" r="4.5"`,
      attention: `<rect x="${x - 4}" y="${y - 8}" width="8" height="8"`,
      memory: `<path d="M${x},${y - 9}l5,9h-10z"`,
    }[sort];
    lines.push(`${mark} fill="${fill}" stroke="${ink}"/>`);
    lines.push(`<text x="${x + 12}" y="${y}" font-weight="bold" fill="${ink}">${label}</text>`);
    for (const { number, name, gflops } of own) {
      y += 15;
      lines.push(`<text x="${x + 12}" y="${y}" text-anchor="end" fill="${ink}">${number}</text>`);
      lines.push(`<text x="${x + 20}" y="${y}" fill="${ink}">${escapeXml(name)}</text>`);
      lines.push(end(y, gflops.toPrecision(3)));
    }
    y += 24;
  }
  return lines.join("\n");
}
