import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { CompileAhead, FLAGS, type ShaderAhead } from "../../lib/gpu/compile_ahead.ts";
import { gpu } from "../gpu.ts";

const PROGRAM = fileURLToPath(new URL("./compile_ahead_process.ts", import.meta.url));

/** Threads that this machine gets. */
const THREADS = Math.min(3, navigator.hardwareConcurrency - 1);

/** Stands in for a thread, and keeps all that it is told. */
class RecordedWorker {
  static told: ShaderAhead[] = [];
  postMessage(message: ShaderAhead): void {
    RecordedWorker.told.push(message);
  }
  terminate(): void {}
}

/** Runs something that makes threads, without them, and returns what they would be told. */
function told(run: (ahead: CompileAhead) => void): ShaderAhead[] {
  const { Worker } = globalThis;
  RecordedWorker.told = [];
  globalThis.Worker = RecordedWorker as unknown as typeof Worker;
  try {
    using ahead = new CompileAhead();
    run(ahead);
  } finally {
    globalThis.Worker = Worker;
  }
  return RecordedWorker.told;
}

const shader = (name: string, length: number) => ({ name, code: " ".repeat(length), places: [] });
const [short, long, late] = [shader("short", 2_000), shader("long", 20_000), shader("late", 2_000)];

Deno.test("the first long kernel is judged, and if it was compiled the kernels after it go to threads", () => {
  const messages = told((ahead) => {
    ahead.add(short);
    assert(!ahead.isCurious);
    ahead.add(long);
    assert(ahead.isCurious);
    ahead.judge(200);
    assert(!ahead.isCurious);
    assertEquals(ahead.isCold, THREADS > 0);
    ahead.add(late);
  });
  const expected = [
    ...Array(THREADS).fill(["long", 0, 200]),
    ...THREADS ? [["late", 1, null]] : [],
  ];
  assertEquals(messages.map(({ shader, number, took }) => [shader.name, number, took]), expected);
});

Deno.test("a kernel that comes from the driver's cache makes no thread", () => {
  const messages = told((ahead) => {
    ahead.add(long);
    ahead.judge(20);
    assert(!ahead.isCold);
    ahead.add(late);
  });
  assertEquals(messages, []);
});

Deno.test("threads that find themselves useless hear of no further kernel", () => {
  const messages = told((ahead) => {
    ahead.add(long);
    ahead.judge(200);
    for (const { flags } of RecordedWorker.told) new Int32Array(flags)[FLAGS.useless] = 1;
    assert(!ahead.isCold);
    ahead.add(late);
  });
  assertEquals(messages.length, THREADS);
});

/** Counts by the program, which ends by itself, with the driver's cache in a folder. */
async function seen(
  clock: "cold" | "warm" | "useless",
  cache: string,
): Promise<Record<"threads" | "told" | "before" | "ahead" | "after", number>> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-A", PROGRAM, clock, cache],
    // Newer versions of Mesa keep all kernels in one file where they may.
    env: {
      MESA_SHADER_CACHE_DIR: cache,
      MESA_DISK_CACHE_MULTI_FILE: "true",
      MESA_SHADER_CACHE_DISABLE: String(clock === "useless"),
    },
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const { values, ...counts } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(values.length, 256);
  return counts;
}

/** Runs a test with an empty folder for the driver's cache, where the driver has one and threads can be made. */
function testWithCache(name: string, run: (cache: string) => Promise<void>): void {
  Deno.test({
    name,
    ignore: !/llvmpipe/i.test(gpu.info.name) || THREADS < 1,
    fn: async () => {
      const cache = await Deno.makeTempDir();
      try {
        await run(cache);
      } finally {
        await Deno.remove(cache, { recursive: true });
      }
    },
  });
}

testWithCache(
  "threads compile the very kernels that the device comes to, where the cache is empty",
  async (cache) => {
    const one = { threads: THREADS, told: THREADS + 1 };
    assertEquals(await seen("cold", cache), { ...one, before: 2, ahead: 3, after: 3 });
    const none = { threads: 0, told: 0 };
    assertEquals(await seen("warm", cache), { ...none, before: 3, ahead: 3, after: 3 });
  },
);

testWithCache(
  "threads end where the driver's cache keeps nothing, and hear of no further kernel",
  async (cache) => {
    const judged = { threads: THREADS, told: THREADS };
    assertEquals(await seen("useless", cache), { ...judged, before: 0, ahead: 0, after: 0 });
  },
);
