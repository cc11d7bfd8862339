import { assert, assertEquals, assertRejects } from "@std/assert";
import { decode } from "fast-png";
import { maskPicture, type MaskPictureOptions } from "../../lib/report/mask_pictures.ts";

const [width, height] = [32, 24];

/** A filled rectangle, the last column and row exclusive. */
function rectangle(x0: number, y0: number, x1: number, y1: number): Uint8Array {
  const mask = new Uint8Array(width * height);
  for (let y = y0; y < y1; y++) mask.fill(1, y * width + x0, y * width + x1);
  return mask;
}

/** A black slice; one slice pixel is 10 picture pixels, and panels stand 8 pixels apart. */
const options: MaskPictureOptions = {
  image: new Float32Array(width * height),
  width,
  height,
  axis: 2,
  spacing: [1, 1],
  orientation: null,
  truth: rectangle(10, 8, 20, 16),
  predictions: [{ name: "Vanilla", mask: rectangle(14, 8, 24, 16), dice: 0.6 }],
  panelWidth: 320,
};

/** Decodes a picture and names the colour at a slice position of a panel of the upper row. */
async function draw(drawn: MaskPictureOptions) {
  const picture = decode(await maskPicture(drawn));
  const colourAt = (x: number, y: number) => {
    const [r, g, b] = picture.data.subarray(
      (Math.floor(y) * picture.width + Math.floor(x)) * 4,
    );
    if (Math.max(r, g, b) < 30) return "black";
    if (Math.min(r, g, b) > 225) return "white";
    if (g > 0.8 * r && b < 0.6 * r) return r > 140 ? "yellow line" : "yellow fill";
    if (g < 0.6 * r && b < 0.3 * r) return r > 120 ? "orange line" : "orange fill";
    return `${r},${g},${b}`;
  };
  const panelTop = (drawn.caption ? 34 : 8) + 40;
  return {
    picture,
    colourAt,
    slice: (column: number, x: number, y: number) =>
      colourAt(8 + column * 328 + 10 * x, panelTop + 10 * y),
  };
}

Deno.test("the picture has a column for image, truth and each prediction, and two rows", async () => {
  const two = [...options.predictions, { ...options.predictions[0], name: "LoRA-16" }];
  const { picture } = await draw({ ...options, predictions: two });
  assertEquals([picture.width, picture.height], [8 + 4 * 328, 8 + 40 + 2 * 248 + 54]);
});

Deno.test("without a truth the predictions stand alone, closed up on the first of them", async () => {
  const predictions = [{ name: "Prediction", mask: rectangle(14, 8, 24, 16) }];
  const { picture, slice } = await draw({ ...options, truth: undefined, predictions });
  assertEquals([picture.width, picture.height], [8 + 2 * 328, 8 + 40 + 2 * 248 + 54]);
  assertEquals(slice(1, 14, 12), "orange line");
  assertEquals(slice(1, 19, 12.5), "orange fill");
  assertEquals(slice(1, 10, 12), "black");
});

Deno.test("an empty truth has no close-up row", async () => {
  const { picture } = await draw({ ...options, truth: new Uint8Array(width * height) });
  assertEquals(picture.height, 8 + 40 + 248 + 54);
});

Deno.test("the truth is outlined along its pixels' edges and filled inside", async () => {
  const { slice } = await draw(options);
  assertEquals(slice(1, 10, 12), "yellow line"); // left edge
  assertEquals(slice(1, 20, 12), "yellow line"); // right edge
  assertEquals(slice(1, 15, 8), "yellow line"); // top edge
  assertEquals(slice(1, 15, 12.5), "yellow fill");
  assertEquals(slice(1, 9.5, 12), "black");
  assertEquals(slice(1, 20.5, 12), "black");
});

Deno.test("a prediction is filled and outlined with the truth's outline over it", async () => {
  const { slice } = await draw(options);
  assertEquals(slice(2, 24, 12), "orange line");
  assertEquals(slice(2, 22, 12.5), "orange fill");
  assertEquals(slice(2, 10, 12), "yellow line"); // missed by the prediction
  assertEquals(slice(2, 12, 12.5), "black");
});

Deno.test("the image panel shows the slice and the box prompt, and no mask", async () => {
  const grey = new Uint8Array(width * height);
  grey.fill(255, 11 * width, 14 * width); // a white band, wider than the interpolation blurs
  const { slice } = await draw({ ...options, image: grey, box: [10, 8, 20, 16] });
  assertEquals(slice(0, 5, 12.5), "white");
  assertEquals(slice(0, 5, 5), "black");
  const edge = Array.from({ length: 80 }, (_, i) => slice(0, 10, 8 + i / 10));
  assert(edge.includes("black") && edge.some((colour) => colour !== "black"), "dashes");
});

Deno.test("values beyond 0..255 are clipped, not wrapped", async () => {
  const image = new Float32Array(width * height).fill(300);
  const bright = await draw({ ...options, image });
  assertEquals(bright.slice(0, 5, 5), "white");
  const dark = await draw({ ...options, image: image.fill(-20) });
  assertEquals(dark.slice(0, 5, 5), "black");
});

Deno.test("a caption stands in a strip above the panels", async () => {
  const plain = await draw(options);
  const captioned = await draw({ ...options, caption: "TINY-1, slice 3" });
  assertEquals(captioned.picture.height - plain.picture.height, 34 - 8);
  const strip = Array.from(
    { length: 120 * 26 },
    (_, i) => captioned.colourAt(8 + i % 120, i / 120),
  );
  assert(strip.filter((colour) => colour !== "white").length > 200, "text");
});

Deno.test("a slice of a known orientation is turned with its masks and its box, in the scan's aspect", async () => {
  const known = await draw({
    ...options,
    orientation: "RAS",
    spacing: [1, 2],
    box: [10, 8, 20, 16],
  });
  assertEquals(known.picture.height, 8 + 40 + 2 * (480 + 8) + 54);
  assertEquals(known.slice(1, 32 - 12, 2 * (24 - 8)), "yellow line"); // the lower edge, now below
  assertEquals(known.slice(1, 32 - 15, 2 * (24 - 12)), "yellow fill");
  assertEquals(known.slice(2, 32 - 24, 2 * (24 - 12)), "orange line"); // the right edge, now on the left
  const dashes = Array.from({ length: 160 }, (_, i) => known.slice(0, 32 - 20, 16 + i / 10));
  assert(dashes.some((colour) => colour !== "black"), "the box");
  const letters = (of: typeof known) =>
    Array.from({ length: 120 }, (_, i) => of.slice(0, 0.4 + i % 12 / 10, 23.2 + i / 120));
  assert(letters(known).includes("white"), "R");
  const stored = await draw({ ...options, spacing: [1, 2] });
  assert(letters(stored).every((colour) => colour === "black"), "no letter");
});

Deno.test("the same slice gives the same bytes", async () => {
  assertEquals(await maskPicture(options), await maskPicture(options));
});

Deno.test("a mask on another grid is refused by its name", async () => {
  const predictions = [{ name: "LoRA-16", mask: new Uint8Array(9), dice: 0 }];
  await assertRejects(
    () => maskPicture({ ...options, predictions }),
    RangeError,
    "LoRA-16 has 9 pixels, not 32 x 24",
  );
});
