/**
 * A picture that is the same on every machine: smooth shading, a bright ellipse, an edge and texture
 * of several pixels' length. RGB, 0..255, channels last.
 */
export function testImage(width: number, height: number): Float32Array {
  const data = new Float32Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const u = x / width;
      const v = y / height;
      const radius = Math.hypot((u - 0.62) / 0.17, (v - 0.4) / 0.24);
      const inside = 1 / (1 + Math.exp(24 * (radius - 1)));
      const texture = Math.sin(47 * u + 9 * Math.sin(13 * v)) * Math.sin(61 * v - 11 * u * u);
      const shade = 60 + 70 * u + 30 * Math.cos(5 * v) + (v > 0.8 ? 35 : 0);
      for (let c = 0; c < 3; c++) {
        const value = shade * (1 - 0.12 * c) + 120 * inside * (0.7 + 0.15 * c) +
          (8 + 10 * inside) * texture;
        data[(y * width + x) * 3 + c] = Math.round(Math.min(255, Math.max(0, value)));
      }
    }
  }
  return data;
}

/** The tight box of {@linkcode testImage}'s ellipse. */
export function testBox(width: number, height: number): [number, number, number, number] {
  return [0.45 * width, 0.16 * height, 0.79 * width, 0.64 * height];
}

/** The largest absolute difference of two arrays of one length. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} and ${b.length} values`);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = difference; // NaN counts as largest
  }
  return largest;
}
