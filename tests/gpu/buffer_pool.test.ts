import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { BufferPool } from "../../lib/gpu/buffer_pool.ts";
import { DeviceErrors } from "../../lib/gpu/device_errors.ts";
import { gpu } from "../gpu.ts";

const errors = new DeviceErrors(gpu.device);

Deno.test("a buffer that was given back is lent again for the same size only", () => {
  const pool = new BufferPool(gpu.device, errors);
  const first = pool.acquire(64);
  pool.release(first);
  assert(pool.has(64));
  assert(!pool.has(80));
  const other = pool.acquire(80);
  assert(other !== first);
  assertStrictEquals(pool.acquire(64), first);
  assert(pool.acquire(64) !== first);
  assertEquals(pool.statistics, {
    buffers: 3,
    live: 3,
    bytes: 208,
    liveBytes: 208,
    peakBytes: 208,
  });
  for (const id of [first.id, other.id]) assert(Number.isInteger(id));
});

Deno.test("the oldest idle buffer is lent first, in whatever order they came back", () => {
  const pool = new BufferPool(gpu.device, errors);
  const buffers = Array.from({ length: 5 }, () => pool.acquire(64));
  for (const i of [3, 0, 4, 2, 1]) pool.release(buffers[i]);
  const again = buffers.map(() => pool.acquire(64));
  assertEquals(again.map(({ id }) => id), buffers.map(({ id }) => id));
});

Deno.test("sizes are rounded up to whole vec4s, and nothing is empty", () => {
  assertEquals([0, 1, 16, 17, 100].map(BufferPool.size), [16, 16, 16, 32, 112]);
  const pool = new BufferPool(gpu.device, errors);
  const odd = pool.acquire(13);
  assertEquals(odd.size, 16);
  pool.release(odd);
  assertStrictEquals(pool.acquire(16), odd);
});

Deno.test("trimming destroys what is idle and leaves what is lent", () => {
  const pool = new BufferPool(gpu.device, errors);
  const [kept, idle] = [pool.acquire(32), pool.acquire(48)];
  pool.release(idle);
  assertEquals(pool.idleBytes, 48);
  pool.trim();
  assertEquals(pool.idleBytes, 0);
  assertEquals(pool.statistics, { buffers: 1, live: 1, bytes: 32, liveBytes: 32, peakBytes: 80 });
  assert(pool.acquire(48) !== idle);
  assertStrictEquals(kept.size, 32);
});
