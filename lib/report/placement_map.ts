import { FIGURE_WIDTH, svgText, textWidth } from "./svg.ts";
import type { PlacedPart } from "../study/results.ts";
import type { Palette } from "./palette.ts";

/** Models that were trained at the same places. */
export interface PlacementRow {
  /** Their names. */
  readonly name: string;
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

/**
 * Map of the trained blocks: rows of models against the parts of SAM, a line within a row for each kind
 * of layer that has adapters anywhere. Full is an adapter, hatched what was trained as a whole.
 */
export function placementMap(
  { rows, figures }: { rows: readonly PlacementRow[]; figures: readonly string[] },
  palette: Palette,
): string {
  // Blocks and the decoder stand in the order of the model; what else there is only where it matters.
  const touched = (part: string) =>
    rows.some(({ parts }) =>
      parts.some((one) =>
        one.part === part && (one.trained > 0 || Object.keys(one.adapters).length > 0)
      )
    );
  const columns = rows[0].parts.map(({ part }) => part)
    .filter((part) => place(part).group !== "" || touched(part));
  const kinds = [
    ...new Set(
      rows.flatMap(({ parts }) =>
        parts.flatMap(({ adapters }) =>
          Object.keys(adapters).map((layer) => layer.split(".").at(-1)!)
        )
      ),
    ),
  ];
  const lines = Math.max(1, kinds.length);
  const rowHeight = Math.max(20, lines * LINE + 6);
  const kindWidth = lines > 1 ? 8 + Math.max(...kinds.map((kind) => 5.2 * kind.length)) : 0;
  const left = 12 + Math.max(...rows.map(({ name }) => textWidth(name))) + kindWidth;
  const figureWidth = 78;
  const right = figureWidth * figures.length + 6;
  const pitch = Math.min(34, (FIGURE_WIDTH - left - right) / columns.length);
  const top = 40;
  const x = (column: number) => left + column * pitch;
  const text = (x: number, y: number, value: string, attributes = "") =>
    svgText(value, { x, y, fill: palette.ink }, attributes);

  const groups: { name: string; first: number; last: number }[] = [];
  columns.forEach((part, i) => {
    const { group } = place(part);
    const open = groups.at(-1);
    if (open && open.name === group) open.last = i;
    else groups.push({ name: group, first: i, last: i });
  });
  const heads = groups.filter(({ name }) => name).map(({ name, first, last }) =>
    text(
      (x(first) + x(last + 1)) / 2,
      13,
      // A short group has room for its number alone.
      textWidth(name) > x(last + 1) - x(first) + 8 ? name.replace("stage ", "st. ") : name,
      `text-anchor="middle" font-size="11"`,
    ) +
    `<path d="M${x(first) + 2},19H${x(last + 1) - 2}" stroke="${palette.soft}"/>`
  );
  const names = columns.map((part, i) =>
    text(x(i) + pitch / 2, 33, place(part).name, `text-anchor="middle" font-size="10"`)
  );
  const titles = figures.map((name, i) =>
    text(FIGURE_WIDTH - right + (i + 1) * figureWidth, 33, name, `text-anchor="end" font-size="11"`)
  );

  const drawn = rows.map(({ name, parts, figures }, row) => {
    const y = top + row * rowHeight;
    const lineHeight = (rowHeight - 6) / lines;
    const cells = columns.map((part, column) => {
      const found = parts.find((one) => one.part === part);
      const [cx, width] = [x(column) + 1.5, pitch - 3];
      const frame = `<rect x="${cx.toFixed(1)}" y="${y + 3}" width="${width.toFixed(1)}" ` +
        `height="${rowHeight - 6}" fill="${
          found && found.trained > 0 ? "url(#placement-hatch)" : "none"
        }" stroke="${palette.line}"/>`;
      const adapted = Object.keys(found?.adapters ?? {}).map((layer) =>
        kinds.indexOf(layer.split(".").at(-1)!)
      );
      return frame +
        [...new Set(adapted)].map((line) =>
          `<rect x="${cx.toFixed(1)}" y="${(y + 3 + line * lineHeight).toFixed(1)}" ` +
          `width="${width.toFixed(1)}" height="${lineHeight.toFixed(1)}" fill="${
            palette.series[1]
          }"/>`
        ).join("");
    });
    const kindNames = lines === 1
      ? []
      : kinds.map((kind, line) =>
        text(left - 5, y + 3 + line * lineHeight + 7, kind, `text-anchor="end" font-size="8"`)
      );
    return text(left - kindWidth - 8, y + rowHeight / 2 + 4, name, `text-anchor="end"`) +
      kindNames.join("") + cells.join("") +
      figures.map((value, i) =>
        text(
          FIGURE_WIDTH - right + (i + 1) * figureWidth,
          y + rowHeight / 2 + 4,
          value,
          `text-anchor="end"`,
        )
      ).join("");
  });
  const end = top + rows.length * rowHeight + 10;
  const key = `<rect x="${left}" y="${end}" width="18" height="11" fill="${palette.series[1]}"/>` +
    text(left + 24, end + 10, kinds.length === 1 ? `adapter (${kinds[0]})` : "adapter") +
    `<rect x="${left + 150}" y="${end}" width="18" height="11" fill="url(#placement-hatch)" ` +
    `stroke="${palette.line}"/>` + text(left + 174, end + 10, "trained as a whole") +
    `<rect x="${left + 310}" y="${end}" width="18" height="11" fill="none" ` +
    `stroke="${palette.line}"/>` + text(left + 334, end + 10, "frozen");
  const height = end + 22;
  return `<svg width="${FIGURE_WIDTH}" height="${height}" viewBox="0 0 ${FIGURE_WIDTH} ${height}" ` +
    `font-size="12"><defs><pattern id="placement-hatch" width="5" height="5" ` +
    `patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0,0V5" ` +
    `stroke="${palette.ink}" stroke-width="2"/></pattern></defs>` +
    [...heads, ...names, ...titles, ...drawn, key].join("") + "</svg>";
}
