/**
 * Tumours of one data set pasted into tumour-free slices of another: the scanner of the slices that a model
 * was taught to leave empty, and a tumour that must be found.
 *
 * @module
 */
import type { SliceReader } from "../loader.ts";
import { type Box, tightBox } from "../prompts.ts";
import type { Slice, SliceRef } from "../slices.ts";
import { type MadeSlices, madeSlices } from "./made_slices.ts";

/** Grey value, of 0 to 255, above which a pixel is head and not air. */
const AIR = 30;

/** Cells along each side of the pictures by which a host is sought. */
const CELLS = 16;

/** Pixels over which a tumour's edge fades into its host. */
const FADE = 2;

/** Pixels about a tumour whose brightness is compared with the host's. */
const RING = 6;

/** Limits of the factor that adapts the brightness. */
const GAIN = [0.5, 2] as const;

/** Box round the head; the whole slice where all is air. */
export function headBox({ image, ref: { width, height } }: Slice): Box {
  const mask = Uint8Array.from(image, (value) => Number(value > AIR));
  return mask.some(Boolean) ? tightBox({ mask, width, height }) : [0, 0, width, height];
}

/** Bilinear interpolation at a place in pixels' centres, clamped to the slice. */
function sample(
  values: ArrayLike<number>,
  { width, height }: SliceRef,
  x: number,
  y: number,
): number {
  const clamp = (value: number, limit: number) => Math.min(limit, Math.max(0, value));
  const [cx, cy] = [clamp(x, width - 1), clamp(y, height - 1)];
  const [x0, y0] = [Math.floor(cx), Math.floor(cy)];
  const [x1, y1] = [Math.min(x0 + 1, width - 1), Math.min(y0 + 1, height - 1)];
  const [fx, fy] = [cx - x0, cy - y0];
  const row = (y: number) => (1 - fx) * values[y * width + x0] + fx * values[y * width + x1];
  return (1 - fy) * row(y0) + fy * row(y1);
}

/** The head as a small picture of mean 0 and length 1. */
function headPicture(slice: Slice, [x0, y0, x1, y1]: Box): Float64Array {
  const cells = Float64Array.from({ length: CELLS * CELLS }, (_, i) => {
    const [column, row] = [i % CELLS, Math.floor(i / CELLS)];
    const x = x0 + (column + 0.5) / CELLS * (x1 - x0) - 0.5;
    const y = y0 + (row + 0.5) / CELLS * (y1 - y0) - 0.5;
    return sample(slice.image, slice.ref, x, y);
  });
  const mean = cells.reduce((a, b) => a + b, 0) / cells.length;
  const centred = cells.map((value) => value - mean);
  const length = Math.hypot(...centred) || 1;
  return centred.map((value) => value / length);
}

/** Means over a square of each pixel, by columns and rows one after the other. */
function blur(values: Float32Array, { width, height }: SliceRef, radius: number): Float32Array {
  const along = (from: Float32Array, step: number, size: number, place: (i: number) => number) =>
    from.map((_, i) => {
      let [sum, count] = [0, 0];
      for (let d = -radius; d <= radius; d++) {
        const at = place(i) + d;
        if (at < 0 || at >= size) continue;
        sum += from[i + d * step];
        count++;
      }
      return sum / count;
    });
  const rows = along(values, 1, width, (i) => i % width);
  return along(rows, width, height, (i) => Math.floor(i / width));
}

/**
 * Pastes the tumour of one slice into another, at the same place of the head and in its size, as bright as its
 * surroundings there are, with edges that fade.
 *
 * @param donor With tumour.
 * @param host Without.
 */
export function pasteTumour(donor: Slice, host: Slice): Slice {
  const [from, to] = [headBox(donor), headBox(host)];
  const scaleX = (from[2] - from[0]) / (to[2] - to[0]);
  const scaleY = (from[3] - from[1]) / (to[3] - to[1]);
  const { width } = host.ref;
  const place = (i: number) => ({
    x: from[0] + (i % width + 0.5 - to[0]) * scaleX - 0.5,
    y: from[1] + (Math.floor(i / width) + 0.5 - to[1]) * scaleY - 0.5,
  });
  const truth = Float32Array.from(donor.mask, (pixel) => Number(pixel !== 0));
  const soft = blur(truth, donor.ref, FADE);
  const near = blur(truth, donor.ref, RING);
  const at = (values: ArrayLike<number>, i: number) => {
    const { x, y } = place(i);
    return sample(values, donor.ref, x, y);
  };
  const mask = host.mask.map((_, i) => Number(at(truth, i) > 0.5));
  let [own, other] = [0, 0];
  for (let i = 0; i < mask.length; i++) {
    if (at(near, i) <= 0 || at(soft, i) > 0) continue;
    own += at(donor.image, i);
    other += host.image[i];
  }
  const gain = own > 0 && other > 0 ? Math.min(GAIN[1], Math.max(GAIN[0], other / own)) : 1;
  const image = host.image.map((value, i) => {
    const share = at(soft, i);
    return share > 0
      ? (1 - share) * value + share * Math.min(255, gain * at(donor.image, i))
      : value;
  });
  const { id, caseId } = donor.ref;
  return {
    image,
    mask,
    ref: {
      ...host.ref,
      id: `${id}:in:${host.ref.id}`,
      caseId: `${caseId}:${donor.ref.index}:in:${host.ref.caseId}`,
      patient: donor.ref.patient,
      tumourVoxels: mask.reduce((sum, pixel) => sum + pixel, 0),
    },
  };
}

/** A slice with the picture of its head. */
interface Pictured {
  readonly ref: SliceRef;
  readonly picture: Float64Array;
}

/** Pictures of the heads of slices. */
async function pictured(reader: SliceReader, refs: readonly SliceRef[]): Promise<Pictured[]> {
  const pictures: Pictured[] = [];
  for (const ref of refs) {
    const slice = await reader.read(ref);
    pictures.push({ ref, picture: headPicture(slice, headBox(slice)) });
  }
  return pictures;
}

/** The slice whose head looks most like another's, which is mostly one of the same plane. */
function mostAlike({ picture }: Pictured, among: readonly Pictured[]): SliceRef {
  const alike = (other: Pictured) =>
    other.picture.reduce((sum, value, i) => sum + value * picture[i], 0);
  return among.toSorted((a, b) => alike(b) - alike(a))[0].ref;
}

/**
 * Pastes tumours into the tumour-free slices that look most like their own.
 *
 * @param tumours Slices with tumour.
 * @param hosts Tumour-free slices.
 * @param options.each `tumour`: every tumour goes into one host; `host`: every host gets one tumour.
 */
export async function pastedTumours(
  reader: SliceReader,
  tumours: readonly SliceRef[],
  hosts: readonly SliceRef[],
  { each = "tumour" }: { each?: "tumour" | "host" } = {},
): Promise<MadeSlices> {
  if (tumours.length === 0 || hosts.length === 0) return await madeSlices([]);
  const [donors, free] = [await pictured(reader, tumours), await pictured(reader, hosts)];
  const pairs = each === "tumour"
    ? donors.map((donor) => ({ donor: donor.ref, host: mostAlike(donor, free) }))
    : free.map((host) => ({ donor: mostAlike(host, donors), host: host.ref }));
  return await madeSlices(pairs.map(({ donor, host }) => async () => {
    const slice = pasteTumour(await reader.read(donor), await reader.read(host));
    return slice.ref.tumourVoxels > 0 ? slice : null;
  }));
}
