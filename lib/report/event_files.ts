import { joinBytes } from "../byte_source.ts";
import { encodeEvent, eventFileHead, type EventImage } from "../formats/event_file.ts";

/** Width and height of a PNG, from its header. */
function imageOf(png: Uint8Array): EventImage {
  const view = new DataView(png.buffer, png.byteOffset);
  return { width: view.getUint32(16), height: view.getUint32(20), png };
}

/**
 * Event file for TensorBoard with one image.
 *
 * @param time Seconds since 1970.
 */
export function imageEvents(
  tag: string,
  { png, time }: { png: Uint8Array; time: number },
): Uint8Array {
  const event = encodeEvent({ time, step: 0, images: { [tag]: imageOf(png) } });
  return joinBytes([eventFileHead(time), event]);
}
