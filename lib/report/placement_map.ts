import { FIGURE_WIDTH, svgText, textWidth } from "./svg.ts";
import type { PlacedPart } from "../study/results.ts";
import type { Palette } from "./palette.ts";

/** Models that were trained at the same places. */
export interface PlacementRow {
  /** Their names. */
  readonly name: string;
  /** Parts of the model, in its order. */
  readonly parts: readonly PlacedPart[];
  /** Texts behind the row, one for each of the map's figures. */
  readonly figures: readonly string[];
}

const LINE = 8;

/** The group that a part stands in and its name there. */
function place(part: string): { group: string; name: string } {
  const stage = /^image_encoder\.layers\.(\d+)\.blocks\.(\d+)$/.exec(part);
  if (stage) return { group: `stage ${stage[1]}`, name: stage[2] };
  const block = /^image_encoder\.blocks\.(\d+)$/.exec(part);
  if (block) return { group: "image encoder, blocks", name: block[1] };
  const layer = /^mask_decoder\.transformer\.layers\.(\d+)$/.exec(part);
  if (layer) return { group: "decoder", name: layer[1] };
  if (part === "mask_decoder") return { group: "decoder", name: "rest" };
  if (part === "image_encoder.layers") return { group: "", name: "down" };
  return { group: "", name: part.replace(/^image_encoder\./, "").replace(/_.*$/, "") };
}

/** Name of the layer that an adapter of a block is on, such as `qkv`. */
function kindsOf({ adapters }: PlacedPart): string[] {
  return Object.keys(adapters).map((layer) => layer.split(".").at(-1)!);
}

/** Columns and sizes of a map, in pixels. */
interface Layout {
  /** Parts of the model. */
  readonly columns: readonly string[];
  /** Layers that have adapters anywhere: lines within a row. */
  readonly kinds: readonly string[];
  readonly rowHeight: number;
  /** Width of the names of `kinds`; 0 where there is one. */
  readonly kindWidth: number;
  /** Left end of the first column. */
  readonly left: number;
  /** Width of a column. */
  readonly pitch: number;
}

const FIGURE_COLUMN = 78;
const TOP = 40;
const HATCH = "url(#placement-hatch)";

function layoutOf(rows: readonly PlacementRow[], figures: number): Layout {
  const parts = rows.flatMap((row) => row.parts);
  // Blocks and the decoder stand in the order of the model; what else there is only where it matters.
  const touched = new Set(
    parts.filter((one) => one.trained > 0 || kindsOf(one).length > 0).map(({ part }) => part),
  );
  const columns = rows[0].parts.map(({ part }) => part)
    .filter((part) => place(part).group !== "" || touched.has(part));
  const kinds = [...new Set(parts.flatMap(kindsOf))];
  const kindWidth = kinds.length > 1 ? 8 + Math.max(...kinds.map((kind) => 5.2 * kind.length)) : 0;
  const left = 12 + Math.max(...rows.map(({ name }) => textWidth(name))) + kindWidth;
  const room = FIGURE_WIDTH - left - FIGURE_COLUMN * figures - 6;
  return {
    columns,
    kinds,
    rowHeight: Math.max(20, Math.max(1, kinds.length) * LINE + 6),
    kindWidth,
    left,
    pitch: Math.min(34, room / columns.length),
  };
}

/** Names of groups and columns. */
function headsOf({ columns, left, pitch }: Layout, palette: Palette): string[] {
  const fill = palette.ink;
  const x = (column: number) => left + column * pitch;
  const groups: { name: string; first: number; last: number }[] = [];
  columns.forEach((part, i) => {
    const { group } = place(part);
    const open = groups.at(-1);
    if (open && open.name === group) open.last = i;
    else groups.push({ name: group, first: i, last: i });
  });
  const heads = groups.filter(({ name }) => name).map(({ name, first, last }) => {
    const [from, to] = [x(first), x(last + 1)];
    // A short group has room for its number alone.
    const text = textWidth(name) > to - from + 8 ? name.replace("stage ", "st. ") : name;
    const at = { x: (from + to) / 2, y: 13, fill };
    return svgText(text, at, `text-anchor="middle" font-size="11"`) +
      `<path d="M${from + 2},19H${to - 2}" stroke="${palette.soft}"/>`;
  });
  const names = columns.map((part, i) =>
    svgText(
      place(part).name,
      { x: x(i) + pitch / 2, y: 33, fill },
      `text-anchor="middle" font-size="10"`,
    )
  );
  return [...heads, ...names];
}

/** The cells of a row: a frame for each column, hatched if trained, a bar for each layer with adapters. */
function cellsOf(
  { parts }: PlacementRow,
  y: number,
  { columns, kinds, rowHeight, left, pitch }: Layout,
  palette: Palette,
): string[] {
  const height = rowHeight - 6;
  const barHeight = height / Math.max(1, kinds.length);
  return columns.map((part, column) => {
    const found = parts.find((one) => one.part === part);
    const sides = `x="${(left + column * pitch + 1.5).toFixed(1)}" width="${
      (pitch - 3).toFixed(1)
    }"`;
    const bars = [...new Set(found ? kindsOf(found) : [])].map((kind) =>
      `<rect ${sides} y="${(y + 3 + kinds.indexOf(kind) * barHeight).toFixed(1)}" ` +
      `height="${barHeight.toFixed(1)}" fill="${palette.series[1]}"/>`
    );
    return `<rect ${sides} y="${y + 3}" height="${height}" ` +
      `fill="${found && found.trained > 0 ? HATCH : "none"}" stroke="${palette.line}"/>` +
      bars.join("");
  });
}

/**
 * Map of the trained blocks: rows of models against the parts of SAM, a line within a row for each kind
 * of layer that has adapters anywhere. Full is an adapter, hatched what was trained as a whole.
 */
export function placementMap(
  { rows, figures }: { rows: readonly PlacementRow[]; figures: readonly string[] },
  palette: Palette,
): string {
  const layout = layoutOf(rows, figures.length);
  const { kinds, rowHeight, kindWidth, left } = layout;
  const text = (value: string, x: number, y: number, attributes = "") =>
    svgText(value, { x, y, fill: palette.ink }, attributes);
  const end = `text-anchor="end"`;
  const beside = (values: readonly string[], y: number, attributes = "") =>
    values.map((value, i) =>
      text(
        value,
        FIGURE_WIDTH - 6 - FIGURE_COLUMN * (figures.length - i - 1),
        y,
        `${end} ${attributes}`,
      )
    );
  const drawn = rows.flatMap((row, i) => {
    const y = TOP + i * rowHeight;
    const middle = y + rowHeight / 2 + 4;
    const barHeight = (rowHeight - 6) / Math.max(1, kinds.length);
    const named = kinds.length > 1 ? kinds : [];
    return [
      text(row.name, left - kindWidth - 8, middle, end),
      ...named.map((kind, line) =>
        text(kind, left - 5, y + 3 + line * barHeight + 7, `${end} font-size="8"`)
      ),
      ...cellsOf(row, y, layout, palette),
      ...beside(row.figures, middle),
    ];
  });
  const below = TOP + rows.length * rowHeight + 10;
  const key = [
    [palette.series[1], kinds.length === 1 ? `adapter (${kinds[0]})` : "adapter", 0],
    [HATCH, "trained as a whole", 150],
    ["none", "frozen", 310],
  ].map(([fill, name, at]) =>
    `<rect x="${left + Number(at)}" y="${below}" width="18" height="11" fill="${fill}" ` +
    `stroke="${palette.line}"/>` + text(String(name), left + Number(at) + 24, below + 10)
  );
  const height = below + 22;
  return `<svg width="${FIGURE_WIDTH}" height="${height}" viewBox="0 0 ${FIGURE_WIDTH} ${height}" ` +
    `font-size="12"><defs><pattern id="placement-hatch" width="5" height="5" ` +
    `patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0,0V5" ` +
    `stroke="${palette.ink}" stroke-width="2"/></pattern></defs>` +
    [...headsOf(layout, palette), ...beside(figures, 33, `font-size="11"`), ...drawn, ...key]
      .join("") +
    "</svg>";
}
