/**
 * Pictures as volumes of one slice, or of one a page: PNG by npm `fast-png`, JPEG by `jpeg-js`, TIFF by
 * `tiff`. They tell no orientation, and of the size of a voxel what ImageJ or OME wrote into a TIFF.
 *
 * @module
 */
import { decode as decodePng } from "fast-png";
import jpeg from "jpeg-js";
import { decode as decodeTiff } from "tiff";
import { allBytes, type ByteSource } from "../byte_source.ts";
import { excerpt, InputError } from "../errors.ts";
import { createVolume, geometryOf, requireFinite, type Volume } from "./volume.ts";

/** A decoded picture: rows from the top, the channels of a pixel side by side. */
interface Page {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  /** True if the last channel is opacity. */
  readonly hasAlpha: boolean;
  readonly data: ArrayLike<number>;
  /** Sizes of a voxel in mm, as far as the file tells them. */
  readonly sizes?: readonly number[];
}

/** A parser of a picture's file. */
export type PictureReader = (file: ByteSource) => Promise<Volume>;

/** Pixels of the largest picture that is read. */
const MAX_PIXELS = 2 ** 26;

/** Shares of red, green and blue in brightness (ITU-R BT.601). */
const BRIGHTNESS = [0.299, 0.587, 0.114];

/** Reads a PNG. Throws an InputError if it is damaged or too large. */
export const parsePng: PictureReader = reader((bytes, name) => {
  const view = new DataView(bytes.buffer);
  requireSize(bytes.length < 24 ? [0, 0] : [view.getUint32(16), view.getUint32(20)], name);
  const { width, height, data, depth, channels, palette } = decodePng(bytes, { checkCrc: true });
  const values = depth < 8 ? unpackBits(data, { width, height, depth }) : data;
  if (!palette) return [{ width, height, channels, hasAlpha: channels % 2 === 0, data: values }];
  const colours = Array.from(values, (index) => palette[index].slice(0, 3)).flat();
  return [{ width, height, channels: 3, hasAlpha: false, data: colours }];
});

/** Reads a JPEG. Throws an InputError if it is damaged or too large. */
export const parseJpeg: PictureReader = reader((bytes) => {
  const options = {
    useTArray: true as const,
    formatAsRGBA: false,
    maxResolutionInMP: MAX_PIXELS / 1e6,
  };
  const { width, height, data } = jpeg.decode(bytes, options);
  return [{ width, height, channels: 3, hasAlpha: false, data }];
});

/** Reads a TIFF, its pages as slices. Throws an InputError if it is damaged or too large. */
export const parseTiff: PictureReader = reader((bytes, name) => {
  const pages = decodeTiff(bytes, { ignoreImageData: true });
  requireSize([pages[0]?.width ?? 0, pages.reduce((sum, { height }) => sum + height, 0)], name);
  return decodeTiff(bytes).map((page) => {
    const { width, height, samplesPerPixel, alpha, data, palette } = page;
    const sizes = voxelSizes(page);
    if (!palette) {
      return { width, height, channels: samplesPerPixel, hasAlpha: alpha, data, sizes };
    }
    const colours = Array.from(data, (index) => palette[index]).flat();
    return { width, height, channels: 3, hasAlpha: false, data: colours, sizes };
  });
});

/** Millimetres of a unit as ImageJ and OME write it. */
const UNITS: Readonly<Record<string, number>> = {
  m: 1000,
  cm: 10,
  mm: 1,
  um: 1e-3,
  "µm": 1e-3,
  "μm": 1e-3, // Greek mu, where the other is the micro sign
  "\\u00B5m": 1e-3,
  micron: 1e-3,
  nm: 1e-6,
};

/** A page of a TIFF, as far as it tells its scale. */
interface TiffPage {
  readonly imageDescription?: string;
  readonly xResolution: number;
  readonly yResolution: number;
}

/**
 * Sizes of a voxel in mm by the description of a TIFF: ImageJ's, which has pixels per unit in the tags of the
 * resolution, or OME's XML, whose unit is µm where it names none; 0 or less where one is not told.
 */
function voxelSizes({ imageDescription = "", xResolution, yResolution }: TiffPage): number[] {
  if (imageDescription.startsWith("ImageJ=")) {
    const value = (key: string) =>
      new RegExp(`^${key}=(.*)$`, "m").exec(imageDescription)?.[1].trim() ?? "";
    const unit = UNITS[value("unit")] ?? 0;
    return unit > 0
      ? [unit / xResolution, unit / yResolution, unit * Number(value("spacing"))]
      : [];
  }
  if (!/<OME[\s>]/.test(imageDescription)) return [];
  const attribute = (name: string) =>
    new RegExp(`\\b${name}="([^"]*)"`).exec(imageDescription)?.[1] ?? "";
  return ["X", "Y", "Z"].map((axis) =>
    Number(attribute(`PhysicalSize${axis}`)) *
    (UNITS[attribute(`PhysicalSize${axis}Unit`) || "µm"] ?? 0)
  );
}

/** A reader of files by a decoder of their bytes. */
function reader(
  decode: (bytes: Uint8Array<ArrayBuffer>, name: string) => Page[],
): PictureReader {
  return (file) => {
    let pages: Page[];
    try {
      pages = decode(allBytes(file), file.name);
    } catch (error) {
      if (error instanceof InputError) throw error;
      // A decoder that trips over a file says nothing of the file.
      const isTrip = error instanceof TypeError || error instanceof RangeError;
      const reason = isTrip || !(error instanceof Error) ? "" : ` (${excerpt(error.message)})`;
      throw new InputError(
        `${file.name} is damaged, or no picture of its kind${reason}: save it again, as PNG or as TIFF ` +
          `without compression`,
      );
    }
    return Promise.resolve(volumeOf(pages, file.name));
  };
}

function requireSize([width, height]: readonly [number, number], name: string): void {
  if (width >= 1 && height >= 1 && width * height <= MAX_PIXELS) return;
  throw new InputError(
    `${name} has ${width} x ${height} pixels, and 1 to ${MAX_PIXELS} are read: crop or resample it`,
  );
}

/** Samples of 1, 2 or 4 bits, each row of which begins with a byte of its own. */
function unpackBits(
  data: ArrayLike<number>,
  { width, height, depth }: { width: number; height: number; depth: number },
): Uint8Array {
  const values = new Uint8Array(width * height);
  const rowBytes = Math.ceil(width * depth / 8);
  for (let i = 0; i < values.length; i++) {
    const bit = (i % width) * depth;
    const byte = data[Math.floor(i / width) * rowBytes + (bit >> 3)];
    values[i] = byte >> (8 - depth - bit % 8) & (1 << depth) - 1;
  }
  return values;
}

/** Pages as slices, colours as brightness. */
function volumeOf(pages: readonly Page[], name: string): Volume {
  const [{ width, height }] = pages;
  if (pages.some((page) => page.width !== width || page.height !== height)) {
    throw new InputError(`${name} has pages of several sizes: save each as a file`);
  }
  const size = width * height;
  const data = new Float32Array(size * pages.length);
  let isColour = false;
  for (const [z, page] of pages.entries()) {
    const colours = page.channels - Number(page.hasAlpha);
    for (let i = 0; i < size; i++) {
      const at = i * page.channels;
      const first = page.data[at];
      const [green, blue] = colours < 3 ? [first, first] : [page.data[at + 1], page.data[at + 2]];
      const isGrey = first === green && first === blue;
      isColour ||= !isGrey;
      data[z * size + i] = isGrey
        ? first
        : BRIGHTNESS[0] * first + BRIGHTNESS[1] * green + BRIGHTNESS[2] * blue;
    }
  }
  const shape = [width, height, pages.length] as const;
  requireFinite(data, { shape, name });
  const { notes, ...geometry } = geometryOf({ sizes: pages[0].sizes ?? [] }, name);
  const colour = isColour ? ["its colours are taken as brightness"] : [];
  return createVolume(data, { shape, ...geometry, notes: [...notes, ...colour] });
}
