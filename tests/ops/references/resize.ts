import type { Reference } from "../check.ts";

/** The definition: pixel centres lie at halves, and a source before the first centre is on it. */
export function resizeBilinear64(
  x: Reference,
  [height, width]: readonly [number, number],
): Reference {
  const [batch, h, w, channels] = x.shape;
  const neighbours = (o: number, size: number, out: number) => {
    const source = Math.max((o + 0.5) * size / out - 0.5, 0);
    const first = Math.floor(source);
    return { first, second: Math.min(first + 1, size - 1), fraction: source - first };
  };
  const data = new Float64Array(batch * height * width * channels);
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let oy = 0; oy < height; oy++) {
      const y = neighbours(oy, h, height);
      for (let ox = 0; ox < width; ox++) {
        const px = neighbours(ox, w, width);
        for (let c = 0; c < channels; c++) {
          const value = (row: number, column: number) =>
            x.data[((b * h + row) * w + column) * channels + c];
          const along = (row: number) =>
            (1 - px.fraction) * value(row, px.first) + px.fraction * value(row, px.second);
          data[at++] = (1 - y.fraction) * along(y.first) + y.fraction * along(y.second);
        }
      }
    }
  }
  return { shape: [batch, height, width, channels], data };
}
