/**
 * A mask's outline as SVG path: closed lines along the edges of its pixels, so that dashes run on round
 * the corners.
 *
 * @param mask height * width bytes, rows one after another; any value but 0 is set.
 */
export function outlinePath(mask: Uint8Array, width: number): string {
  const height = mask.length / width;
  const set = (x: number, y: number) =>
    x >= 0 && x < width && y >= 0 && y < height && mask[y * width + x] !== 0;
  // Every edge between a set pixel and an unset one, with the set one to its right, by its first corner.
  const edges = new Map<number, [dx: number, dy: number][]>();
  const add = (x: number, y: number, direction: [number, number]) => {
    const corner = y * (width + 1) + x;
    edges.set(corner, [...edges.get(corner) ?? [], direction]);
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!set(x, y)) continue;
      if (!set(x, y - 1)) add(x, y, [1, 0]);
      if (!set(x + 1, y)) add(x + 1, y, [0, 1]);
      if (!set(x, y + 1)) add(x + 1, y + 1, [-1, 0]);
      if (!set(x - 1, y)) add(x, y + 1, [0, -1]);
    }
  }
  const paths: string[] = [];
  for (const [start, directions] of edges) {
    while (directions.length > 0) {
      let [x, y] = [start % (width + 1), Math.floor(start / (width + 1))];
      const steps = [`M${x},${y}`];
      let [dx, dy] = [0, 0];
      let length = 0;
      const draw = () => {
        if (length > 0) steps.push(dx === 0 ? `v${dy * length}` : `h${dx * length}`);
      };
      do {
        const open = edges.get(y * (width + 1) + x)!;
        // Where two pixels touch at a corner alone, turn right: each keeps an outline of its own.
        const right = open.findIndex(([ex, ey]) => ex === -dy && ey === dx);
        const [[ex, ey]] = open.splice(Math.max(0, right), 1);
        if (ex !== dx || ey !== dy) {
          draw();
          [dx, dy, length] = [ex, ey, 0];
        }
        length++;
        [x, y] = [x + dx, y + dy];
      } while (y * (width + 1) + x !== start);
      draw();
      paths.push(steps.join("") + "z");
    }
  }
  return paths.join("");
}
