import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { joinBytes } from "../../lib/byte_source.ts";
import { gunzip as gunzipOnDisk } from "../../lib/data/nifti_file.ts";
import { type Gunzip, gunzip } from "../../lib/formats/gunzip.ts";

const content = Uint8Array.from({ length: 200_000 }, (_, i) => (i * i >> 7) & 255);
const member = new Uint8Array(gzipSync(content));
const empty = new Uint8Array(gzipSync(new Uint8Array(0)));

/** The member with a bit changed, at a place from its end if that is negative. */
function changed(at: number): Uint8Array<ArrayBuffer> {
  const bytes = member.slice();
  bytes[at < 0 ? bytes.length + at : at] ^= 1;
  return bytes;
}

/** Content of a file, and if bytes follow; null if it is damaged. */
async function outcome(unpack: Gunzip, packed: Uint8Array<ArrayBuffer>) {
  let hasTrailer = false;
  const options = { size: packed.length, onTrailer: () => void (hasTrailer = true) };
  const parts: Uint8Array[] = [];
  try {
    for await (const part of unpack(() => [packed], options)) parts.push(part.slice());
  } catch {
    return null;
  }
  return { content: createHash("sha256").update(joinBytes(parts)).digest("hex"), hasTrailer };
}

for (
  const [name, packed, isSound] of [
    ["one member", member, true],
    ["several members, empty ones too", joinBytes([empty, member, empty, member]), true],
    ["zeros behind it", joinBytes([member, new Uint8Array(512)]), true],
    ["other bytes behind it", joinBytes([member, member, new TextEncoder().encode("other")]), true],
    ["a member that ends early", member.slice(0, -3), false],
    ["half a member", member.slice(0, member.length >> 1), false],
    ["half a member behind another", joinBytes([member, member.slice(0, 99)]), false],
    ["another checksum", changed(-7), false],
    ["another size", changed(-2), false],
    ["another checksum in the first of two", joinBytes([changed(-7), member]), false],
    ["changed content", changed(5000), false],
    ["another method", changed(2), false],
    ["half a header", member.slice(0, 5), false],
  ] as const
) {
  Deno.test(`${name} unpacks in a browser as it does from disk`, async () => {
    const found = await outcome(gunzip, packed);
    assertEquals(found !== null, isSound);
    assertEquals(found, await outcome(gunzipOnDisk, packed));
  });
}
