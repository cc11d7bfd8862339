/**
 * TensorBoard's event files: records of a length, the event as a protocol buffer, and a checksum of each.
 *
 * The messages are those of TensorFlow's event.proto, summary.proto and of TensorBoard's hparams plugin,
 * as far as scalars, images and hyper-parameters need them.
 *
 * @module
 */
import { joinBytes } from "../byte_source.ts";

/** Value of a hyper-parameter. */
export type HyperParameter = number | string | boolean;

/** An image of an event. */
export interface EventImage {
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
  /** Bytes of a PNG of that size. */
  readonly png: Uint8Array;
}

/** One moment of a training. */
export interface TrainingEvent {
  /** Seconds since 1970. */
  readonly time: number;
  /** Step of the training that it belongs to, such as an epoch; 0 for its start. */
  readonly step: number;
  /** Figures by their tags, such as `loss/train`. */
  readonly scalars?: Readonly<Record<string, number>>;
  /** Images by their tags. */
  readonly images?: Readonly<Record<string, EventImage>>;
  /** Hyper-parameters of the run, told once at its start. */
  readonly hyperParameters?: Readonly<Record<string, HyperParameter>>;
  /** True once the run has ended. */
  readonly isEnd?: boolean;
}

const encoder = new TextEncoder();

/** Whole number of 0 or more in base 128, the lowest digits first. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push(value % 128 + 128);
  return [...bytes, value];
}

/** Field whose content has a length: a text, bytes or a message. */
function field(number: number, content: Uint8Array | string): Uint8Array {
  const bytes = typeof content === "string" ? encoder.encode(content) : content;
  return joinBytes([Uint8Array.from([...varint(8 * number + 2), ...varint(bytes.length)]), bytes]);
}

/** Field of a whole number. */
function integer(number: number, value: number): Uint8Array {
  return Uint8Array.from([...varint(8 * number), ...varint(value)]);
}

/** Field of a number in 64 bits. */
function double(number: number, value: number): Uint8Array {
  const bytes = new Uint8Array(9);
  bytes[0] = 8 * number + 1;
  new DataView(bytes.buffer).setFloat64(1, value, true);
  return bytes;
}

/** Field of a number in 32 bits. */
function float(number: number, value: number): Uint8Array {
  const bytes = new Uint8Array(5);
  bytes[0] = 8 * number + 5;
  new DataView(bytes.buffer).setFloat32(1, value, true);
  return bytes;
}

const message = (...fields: readonly Uint8Array[]) => joinBytes(fields);

/** A tensor without elements, which stands where a plugin's data are all there is. */
const NO_TENSOR = message(integer(1, 1), field(2, field(2, "")));

/** A value of a summary that is data of the hparams plugin. */
function hparamsValue(tag: string, content: Uint8Array): Uint8Array {
  const plugin = message(field(1, "hparams"), field(2, content));
  return field(1, message(field(1, tag), field(8, NO_TENSOR), field(9, field(1, plugin))));
}

/** A `google.protobuf.Value`. */
function anyValue(value: HyperParameter): Uint8Array {
  if (typeof value === "number") return double(2, value);
  return typeof value === "string" ? field(3, value) : integer(4, value ? 1 : 0);
}

/** Status of a session that has succeeded. */
const SUCCESS = 1;

/** Values of an event's summary. */
function summaryValues(event: TrainingEvent): Uint8Array[] {
  const { scalars = {}, images = {}, hyperParameters, isEnd = false, time } = event;
  const start = hyperParameters &&
    Object.entries(hyperParameters).map(([name, value]) =>
      field(1, message(field(1, name), field(2, anyValue(value))))
    );
  return [
    ...(start
      ? [hparamsValue("_hparams_/session_start_info", field(3, message(...start, double(5, time))))]
      : []),
    ...Object.entries(scalars).map(([tag, value]) =>
      field(1, message(field(1, tag), float(2, value)))
    ),
    ...Object.entries(images).map(([tag, { width, height, png }]) => {
      const image = message(integer(1, height), integer(2, width), integer(3, 3), field(4, png));
      return field(1, message(field(1, tag), field(4, image)));
    }),
    ...(isEnd
      ? [
        hparamsValue(
          "_hparams_/session_end_info",
          field(4, message(integer(1, SUCCESS), double(2, time))),
        ),
      ]
      : []),
  ];
}

/** Bytes of an event as a file holds it. */
export function encodeEvent(event: TrainingEvent): Uint8Array {
  const { time, step } = event;
  const summary = field(5, message(...summaryValues(event)));
  return record(message(double(1, time), ...(step > 0 ? [integer(2, step)] : []), summary));
}

/** Bytes that a file begins with. */
export function eventFileHead(time: number): Uint8Array {
  return record(message(double(1, time), field(3, "brain.Event:2")));
}

/** A record: length, its checksum, content, its checksum. */
function record(content: Uint8Array): Uint8Array {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(content.length), true);
  return joinBytes([length, maskedChecksum(length), content, maskedChecksum(content)]);
}

/** CRC-32C by byte. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32C (Castagnoli) of bytes. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
  return (crc ^ 0xffffffff) >>> 0;
}

/** A checksum turned and shifted, as records hold it: data may hold checksums themselves. */
function maskedChecksum(bytes: Uint8Array): Uint8Array {
  const crc = crc32c(bytes);
  const masked = ((crc >>> 15 | crc << 17) >>> 0) + 0xa282ead8;
  const found = new Uint8Array(4);
  new DataView(found.buffer).setUint32(0, masked >>> 0, true);
  return found;
}
