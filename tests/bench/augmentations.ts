// Slices under each augmentation with their masks outlined, as one PNG to look at:
// deno run -A tests/bench/augmentations.ts sheet.png [DATA SET]
import { encode } from "fast-png";
import { augment } from "../../lib/data/augment.ts";
import {
  AUGMENT_DEFAULTS,
  AUGMENTATIONS,
  type AugmentOptions,
} from "../../lib/data/augment_options.ts";
import { openDataset } from "../../lib/data/dataset.ts";
import { openSlices, type Slice } from "../../lib/data/slices.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { Random } from "../../lib/random.ts";
import { rasterFont, rasterize } from "../../lib/report/rasterize.ts";
import { augmentImage } from "../../lib/tensor/ops/augment.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";

const PANEL = 200; // pixels that a slice's longer side takes
const HEADER = 24;

/** Augmentation of each column: every augmentation by itself, then all of them together. */
const columns: [string, AugmentOptions][] = [
  ["plain", {}],
  ...AUGMENTATIONS.map((name): [string, AugmentOptions] => [name, always(name)]),
  ["all", always(...AUGMENTATIONS)],
];

function always(...names: (keyof AugmentOptions)[]): AugmentOptions {
  return Object.fromEntries(
    names.map((name) => [name, { ...AUGMENT_DEFAULTS[name], chance: 1 }]),
  );
}

/** A grey PNG with the mask's inner border in yellow. */
function picture(image: Float32Array, { mask, ref: { width, height } }: Slice): Uint8Array {
  const at = (x: number, y: number) =>
    x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] !== 0;
  const data = new Uint8Array(3 * width * height);
  image.forEach((grey, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    const inner = at(x - 1, y) && at(x + 1, y) && at(x, y - 1) && at(x, y + 1);
    data.set(at(x, y) && !inner ? [240, 228, 66] : [grey, grey, grey], 3 * i);
  });
  return encode({ width, height, data, channels: 3, depth: 8 });
}

const [out, folder = "experiments/sample"] = Deno.args;
const slices = await openSlices(await openDataset(folder));
const patients = [...new Set(slices.refs.map(({ patient }) => patient))];
using gpu = await Gpu.open();
const panels: string[] = [];
const rows = [0, 1, 2, 3, 4];
for (const row of rows) {
  const patient = patients[row * 3 % patients.length];
  const slice = await slices.read(slices.refs.find((ref) => ref.patient === patient)!);
  const { width, height } = slice.ref;
  const scale = PANEL / Math.max(width, height);
  for (const [column, [name, options]] of columns.entries()) {
    using _ = new Scope(gpu);
    const augmented = augment(slice, new Random(`sheet ${row}`), options);
    const image = augmented.change
      ? await augmentImage(Tensor.from(gpu, slice.image, [height, width]), augmented.change).data()
      : slice.image;
    const [x, y] = [column * (PANEL + 4), HEADER + row * (PANEL + 4)];
    if (row === 0) panels.push(`<text x="${x + 4}" y="17" font-size="15">${name}</text>`);
    panels.push(
      `<image x="${x}" y="${y}" width="${scale * width}" height="${scale * height}" ` +
        `href="data:image/png;base64,${picture(image, augmented.slice).toBase64()}"/>`,
    );
  }
}
const [width, height] = [columns.length * (PANEL + 4), HEADER + rows.length * (PANEL + 4)];
await Deno.writeFile(
  out,
  await rasterize(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
      `font-family="${rasterFont}"><rect width="100%" height="100%" fill="#ffffff"/>` +
      `${panels.join("")}</svg>`,
  ),
);
