/**
 * Unpacks gzip or zlib data whose size is known, never more than that.
 *
 * @throws {Error} if it is damaged, or is not of that size.
 */
export async function inflate(
  packed: Uint8Array<ArrayBuffer>,
  { format, size }: { format: "gzip" | "deflate"; size: number },
): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream(format));
  const content = new Uint8Array(Math.min(size, packed.length * MAX_DEFLATE_RATIO));
  let filled = 0;
  for await (const piece of stream) {
    if (filled + piece.length > content.length) {
      throw new Error(`it unpacks to more than the ${size} bytes its header promises`);
    }
    content.set(piece, filled);
    filled += piece.length;
  }
  if (filled === size) return content;
  throw new Error(`it unpacks to ${filled} of the ${size} bytes its header promises`);
}

/** DEFLATE cannot shrink by more than 1032 to 1: what packed data claim beyond that is not in them. */
export const MAX_DEFLATE_RATIO = 1032;
