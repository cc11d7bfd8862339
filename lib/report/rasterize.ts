import { initWasm, Resvg } from "@resvg/resvg-wasm";

/** The one typeface that {@link rasterize} knows: Lato, regular and bold. */
export const rasterFont = "Lato";

/** A file of an npm package that stands in the import map. */
function packageFile(specifier: string): Promise<Uint8Array> {
  return Deno.readFile(new URL(import.meta.resolve(specifier)));
}

let loading: Promise<Uint8Array[]> | undefined;

/** Starts resvg, once a process, and reads the fonts. */
async function load(): Promise<Uint8Array[]> {
  const [wasm, ...fonts] = await Promise.all([
    packageFile("@resvg/resvg-wasm/index_bg.wasm"),
    packageFile("@fontsource/lato/files/lato-latin-400-normal.woff2"),
    packageFile("@fontsource/lato/files/lato-latin-700-normal.woff2"),
  ]);
  await initWasm(wasm as Uint8Array<ArrayBuffer>);
  return fonts;
}

/**
 * Draws an SVG as PNG by resvg, which needs no browser: one pixel a user unit, the same bytes on
 * every machine. Text must ask for {@link rasterFont}; no system font is read.
 *
 * @param svg The text of an SVG file; its images must be data URIs.
 * @returns The bytes of a PNG file.
 */
export async function rasterize(svg: string): Promise<Uint8Array> {
  const fontBuffers = await (loading ??= load());
  const resvg = new Resvg(svg, { font: { fontBuffers, defaultFontFamily: rasterFont } });
  try {
    const picture = resvg.render();
    try {
      return picture.asPng();
    } finally {
      picture.free();
    }
  } finally {
    resvg.free();
  }
}
