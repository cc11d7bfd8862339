/** Line and marker of one model: told apart by colour, and by dash and marker where there is none. */
export interface SeriesStyle {
  /** A colour. */
  readonly colour: string;
  /** As SVG's `stroke-dasharray`; absent for a solid line. */
  readonly dash?: string;
  /** Marker, by Plot's names. */
  readonly symbol: "circle" | "square" | "triangle" | "diamond" | "cross" | "times" | "star";
  /** True if the marker is filled, false if it is its outline alone. */
  readonly filled: boolean;
}

/** The colours of a picture: those of a page, which follow its reader, or fixed ones for a file. */
export interface Palette {
  /** Lines and text. */
  readonly ink: string;
  /** Second to the ink: axes' labels, references. */
  readonly soft: string;
  /** Frames and grid. */
  readonly line: string;
  /** Background. */
  readonly ground: string;
  /** Told apart by colour-blind readers too: Okabe and Ito's, darker on white, lighter on black. */
  readonly series: readonly string[];
}

const NAMES = ["ink", "soft", "line", "ground"] as const;

/** On white paper. */
export const paper: Palette = {
  ink: "#1a1a1a",
  soft: "#5c5c5c",
  line: "#b8b8b8",
  ground: "#ffffff",
  series: ["#1a1a1a", "#0072b2", "#d55e00", "#00805d", "#b0508a", "#a06a00", "#2f8fc4", "#7a5fb0"],
};

/** On a dark screen. */
export const night: Palette = {
  ink: "#e8e6e1",
  soft: "#a8a59e",
  line: "#55534e",
  ground: "#16171a",
  series: ["#e8e6e1", "#56b4e9", "#ff8f45", "#2fc797", "#e08fc0", "#e6b84a", "#9ad0f5", "#b8a0f0"],
};

/** The custom properties of a page, of which {@linkcode page} is made. */
export function properties(palette: Palette): string {
  return [
    ...NAMES.map((name) => `--${name}:${palette[name]}`),
    ...palette.series.map((colour, i) => `--s${i}:${colour}`),
  ].join(";");
}

/** The colours of the page that a picture stands in. */
export const page: Palette = {
  ink: "var(--ink)",
  soft: "var(--soft)",
  line: "var(--line)",
  ground: "var(--ground)",
  series: paper.series.map((_, i) => `var(--s${i})`),
};

const DASHES = [undefined, "7 3", "2 3", "9 3 2 3", "5 2", "1 2", "12 3", "4 4 1 4"];
const SYMBOLS = ["circle", "square", "triangle", "diamond", "cross", "star", "times"] as const;

/** The style of the n-th model of a picture; after eight they begin again. */
export function seriesStyle(palette: Palette, n: number): SeriesStyle {
  return {
    colour: palette.series[n % palette.series.length],
    dash: DASHES[n % DASHES.length],
    symbol: SYMBOLS[n % SYMBOLS.length],
    filled: n % 2 === 0,
  };
}
