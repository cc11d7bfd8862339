/** Content of a NIfTI file, read field by field with a DataView and nothing else. */
export interface NiftiContent {
  /** Voxels along x, y and z. */
  readonly shape: readonly number[];
  /** Scaled voxel values. */
  readonly data: Float32Array;
  /** The sform in mm, where the file has one that places its voxels. */
  readonly sform: readonly number[] | null;
}

/** Places of fields in the two headers. */
export const NIFTI_FIELDS = {
  1: {
    length: 348,
    dim: [40, 2],
    datatype: 70,
    bitpix: 72,
    pixdim: [76, 4],
    offset: 108,
    slope: 112,
    inter: 116,
    qform: 252,
    sform: 254,
    quaternion: 256,
    rows: 280,
    magic: 344,
    units: 123,
    description: 148,
  },
  2: {
    length: 540,
    dim: [16, 8],
    datatype: 12,
    bitpix: 14,
    pixdim: [104, 8],
    offset: 168,
    slope: 176,
    inter: 184,
    qform: 344,
    sform: 348,
    quaternion: 352,
    rows: 400,
    magic: 4,
    units: 500,
    description: 240,
  },
} as const;

/** Reads a sound, uncompressed NIfTI file. */
export function niftiContent(bytes: Uint8Array): NiftiContent {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = [348, 540].includes(view.getInt32(0, true));
  const first = view.getInt32(0, little) === 348;
  const at = NIFTI_FIELDS[first ? 1 : 2];
  const dim = (i: number) =>
    first
      ? view.getInt16(at.dim[0] + 2 * i, little)
      : Number(view.getBigInt64(at.dim[0] + 8 * i, little));
  const float = (place: number) =>
    first ? view.getFloat32(place, little) : view.getFloat64(place, little);
  const code = (place: number) =>
    first ? view.getInt16(place, little) : view.getInt32(place, little);
  const shape = [dim(1), dim(2), dim(0) > 2 ? dim(3) : 1];
  const start = first ? view.getFloat32(at.offset, little) : Number(view.getBigInt64(168, little));
  const [slope, inter] = [float(at.slope), float(at.inter)];
  const scaled = Number.isFinite(slope) && slope !== 0;
  const reader: Record<number, [number, (place: number) => number]> = {
    2: [1, (p) => view.getUint8(p)],
    4: [2, (p) => view.getInt16(p, little)],
    8: [4, (p) => view.getInt32(p, little)],
    16: [4, (p) => view.getFloat32(p, little)],
    64: [8, (p) => view.getFloat64(p, little)],
    256: [1, (p) => view.getInt8(p)],
    512: [2, (p) => view.getUint16(p, little)],
    768: [4, (p) => view.getUint32(p, little)],
    1024: [8, (p) => Number(view.getBigInt64(p, little))],
    1280: [8, (p) => Number(view.getBigUint64(p, little))],
  };
  const [size, value] = reader[view.getInt16(at.datatype, little)];
  const data = Float32Array.from(
    { length: shape[0] * shape[1] * shape[2] },
    (_, i) => {
      const stored = value(start + i * size);
      return scaled ? stored * slope + (Number.isFinite(inter) ? inter : 0) : stored;
    },
  );
  const unit = first ? view.getUint8(at.units) : view.getInt32(at.units, little);
  const mm = (unit & 7) === 1 ? 1000 : (unit & 7) === 3 ? 1e-3 : 1;
  const rows = Array.from({ length: 12 }, (_, i) => mm * float(at.rows + (first ? 4 : 8) * i));
  return { shape, data, sform: code(at.sform) > 0 && !isFlat(rows) ? rows : null };
}

/** True if three rows of four map the unit cube to one without volume, up to rounding. */
function isFlat(rows: readonly number[]): boolean {
  const column = (i: number) => [rows[i], rows[4 + i], rows[8 + i]];
  const [a, b, c] = [0, 1, 2].map(column);
  const cross = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]];
  const volume = Math.abs(a[0] * cross[0] + a[1] * cross[1] + a[2] * cross[2]);
  return !(volume > 1e-6 * Math.hypot(...a) * Math.hypot(...b) * Math.hypot(...c));
}
