import { assert, assertEquals, assertRejects } from "@std/assert";
import { downloadCheckpoint, type DownloadOptions } from "../../lib/files/download.ts";
import { createHash } from "node:crypto";
import { InputError } from "../../lib/errors.ts";
import { type Checkpoint, MODELS } from "../../lib/sam/models.ts";
import { runCommand } from "../experiments/command_line.ts";

const content = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 2654435761) >>> 24);
const checkpoint: Checkpoint = {
  file: "sam_tiny.pth",
  baseUrl: "http://127.0.0.1:1/",
  bytes: content.length,
  sha256: createHash("sha256").update(content).digest("hex"),
};

/** Behaviour of the server at each request; the last rule holds for all that follow. */
interface Rule {
  /** Sends so many bytes of the answer and breaks the connection. */
  breakAfter?: number;
  /** Ignores the Range header. */
  withoutRange?: boolean;
  /** Answers with this status and no file. */
  status?: number;
  /** Sends so many bytes of the answer and then nothing, for as long as the other side waits. */
  stallAfter?: number;
  /** Does not say how long the answer is. */
  withoutLength?: boolean;
  /** Sends this instead of the file. */
  content?: Uint8Array<ArrayBuffer>;
}

/** Runs `body` with a server on the loopback and an empty folder. */
async function withServer(
  rules: Rule[],
  body: (context: {
    baseUrl: string;
    folder: string;
    ranges: (string | null)[];
    download: (options?: DownloadOptions) => Promise<string>;
  }) => Promise<void>,
): Promise<void> {
  const ranges: (string | null)[] = [];
  const answer = (request: Request): Response => {
    const rule = rules[Math.min(ranges.length, rules.length - 1)];
    const range = rule.withoutRange ? null : request.headers.get("range");
    ranges.push(request.headers.get("range"));
    if (rule.status) return new Response("sorry", { status: rule.status });
    const file = rule.content ?? content;
    const from = range ? Number(range.match(/^bytes=(\d+)-$/)![1]) : 0;
    if (from >= file.length) return new Response(null, { status: 416 });
    const headers = new Headers(
      rule.withoutLength ? {} : { "content-length": String(file.length - from) },
    );
    if (range) headers.set("content-range", `bytes ${from}-${file.length - 1}/${file.length}`);
    const end = rule.breakAfter === undefined ? file.length : from + rule.breakAfter;
    let at = from;
    const stream = new ReadableStream({
      pull(controller) {
        if (at - from >= (rule.stallAfter ?? Infinity)) return new Promise<void>(() => {});
        if (at >= file.length) controller.close();
        else if (at >= end) controller.error(new Error("pulled the plug"));
        else {
          const next = Math.min(at + 10_000, end);
          controller.enqueue(file.subarray(at, next));
          at = next;
        }
      },
    });
    return new Response(stream, { status: range ? 206 : 200, headers });
  };
  const folder = await Deno.makeTempDir();
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    onListen() {},
    onError: () => new Response(null, { status: 500 }),
  }, answer);
  try {
    const baseUrl = `http://127.0.0.1:${server.addr.port}/models`;
    const download = (options: DownloadOptions = {}): Promise<string> =>
      downloadCheckpoint(checkpoint, { folder, baseUrl, ...options });
    await body({ baseUrl, folder, ranges, download });
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
}

const filesIn = (folder: string): string[] =>
  [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

Deno.test("a download reports its progress, is verified and is not repeated", () =>
  withServer([{}], async ({ folder, ranges, download }) => {
    const progress: [number, number][] = [];
    const path = await download({ onProgress: (...state) => progress.push(state) });
    assertEquals(await Deno.readFile(path), content);
    assertEquals(filesIn(folder), ["sam_tiny.pth"]);
    assert(progress.length > 1 && progress.every(([, total]) => total === content.length));
    assertEquals(progress.at(-1)![0], content.length);
    assertEquals(await download(), path);
    assertEquals(ranges, [null]);
  }));

Deno.test("a broken connection is taken up where it broke", () =>
  withServer([{ breakAfter: 100_000 }, { breakAfter: 50_000 }, {}], async (context) => {
    const { ranges, download } = context;
    const path = await download();
    assertEquals(await Deno.readFile(path), content);
    assertEquals(ranges.length, 3);
    assertEquals(ranges[0], null);
    const [second, third] = ranges.slice(1).map((range) => Number(range!.match(/\d+/)![0]));
    assert(0 < second && second <= 100_000 && second < third && third <= 150_000);
  }));

Deno.test("a connection that keeps breaking is given up, and a later run continues", () =>
  withServer([{ breakAfter: 100_000 }, { breakAfter: 0 }], async (context) => {
    const { folder, ranges, download } = context;
    await assertRejects(() => download(), InputError, "run this again to continue");
    assertEquals(filesIn(folder), ["sam_tiny.pth.part"]);
    const kept = (await Deno.stat(`${folder}/sam_tiny.pth.part`)).size;
    assert(kept > 0);
    await withServer([{}], async (again) => {
      await again.download({ folder });
      assertEquals(again.ranges, [`bytes=${kept}-`]);
    });
    assertEquals(filesIn(folder), ["sam_tiny.pth"]);
    assertEquals(ranges.length, 4);
  }));

Deno.test("a server that knows no ranges sends the file from its start", () =>
  withServer([{ breakAfter: 100_000 }, { withoutRange: true }], async ({ ranges, download }) => {
    assertEquals(await Deno.readFile(await download()), content);
    assertEquals(ranges.length, 2);
  }));

Deno.test("a file that is not the published one is refused and not kept", () =>
  withServer([{ content: new Uint8Array(content.length) }], async ({ folder, download }) => {
    await assertRejects(() => download(), InputError, "is not the published sam_tiny.pth (SHA-256");
    assertEquals(filesIn(folder), []);
  }));

Deno.test("what was left of another file does not spoil the download", () =>
  withServer([{}], async ({ folder, ranges, download }) => {
    await Deno.writeFile(`${folder}/sam_tiny.pth.part`, new Uint8Array(200_000));
    assertEquals(await Deno.readFile(await download()), content);
    await Deno.remove(`${folder}/sam_tiny.pth`);
    await Deno.writeFile(`${folder}/sam_tiny.pth.part`, new Uint8Array(400_000)); // 416
    assertEquals(await Deno.readFile(await download()), content);
    assertEquals(ranges, ["bytes=200000-", null, "bytes=400000-", null]);
  }));

Deno.test("a damaged file in the cache is replaced", () =>
  withServer([{}], async ({ folder, download }) => {
    await Deno.writeFile(`${folder}/sam_tiny.pth`, content.subarray(1));
    assertEquals(await Deno.readFile(await download()), content);
    assertEquals(filesIn(folder), ["sam_tiny.pth"]);
  }));

Deno.test("a full disk ends the download in one sentence, and what was written is continued", () =>
  withServer([{}], async ({ folder, ranges, download }) => {
    let room = 100_000;
    const open: DownloadOptions["open"] = async (path, options) => {
      const file = await Deno.open(path, options);
      return {
        close: () => file.close(),
        sync: () => file.sync(),
        write: (piece) => {
          const part = piece.subarray(0, room);
          if (part.length === 0) return Promise.reject(new Error("No space left on device"));
          room -= part.length;
          return file.write(part);
        },
      };
    };
    const error = await assertRejects(() => download({ open }), InputError, "No space left");
    assert((error as Error).message.includes("make room or choose another folder"));
    assertEquals(filesIn(folder), ["sam_tiny.pth.part"]);
    assertEquals(await Deno.readFile(await download()), content);
    assertEquals(ranges, [null, "bytes=100000-"]);
  }));

Deno.test("a missing file, a folder that cannot be made and a dead server are named", () =>
  withServer([{ status: 404 }], async ({ baseUrl, folder, download }) => {
    await assertRejects(() => download(), InputError, `${baseUrl}/sam_tiny.pth answers 404`);
    await Deno.writeTextFile(`${folder}/file`, "");
    await assertRejects(() => download({ folder: `${folder}/file` }), InputError, "cannot write");
    const dead = { folder, baseUrl: "http://127.0.0.1:1" };
    await assertRejects(() => download(dead), InputError, "put the file at");
  }));

Deno.test("a server that sends nothing more is left, and asked for the rest", () =>
  withServer([{ stallAfter: 0 }, { stallAfter: 100_000 }, {}], async ({ ranges, download }) => {
    assertEquals(await Deno.readFile(await download({ patience: 300 })), content);
    assertEquals([ranges.length, ranges[1]], [3, null]);
    assert(Number(ranges[2]!.match(/\d+/)![0]) > 0);
  }));

Deno.test("a server that never sends anything is given up in a sentence", () =>
  withServer([{ stallAfter: 0 }], async ({ download }) => {
    await assertRejects(() => download({ patience: 50 }), InputError, "nothing came for 0.05 s");
  }));

Deno.test("a file longer or shorter than the published one is refused before it fills the disk", () =>
  withServer([{ content: new Uint8Array(300_001) }], async ({ folder, ranges, download }) => {
    await assertRejects(() => download(), InputError, "300001 bytes instead of 300000");
    assertEquals([filesIn(folder), ranges.length], [[], 1]);
    const endless = { content: new Uint8Array(900_000), withoutLength: true };
    await withServer([endless], async (other) => {
      let most = 0;
      const onProgress = (done: number) => most = done;
      await assertRejects(() => other.download({ onProgress }), InputError, "more bytes");
      assertEquals([filesIn(other.folder), most <= content.length], [[], true]);
    });
    await Deno.writeFile(`${folder}/sam_tiny.pth.part`, new Uint8Array(300_000));
    await withServer([{}], async (other) => {
      assertEquals(await Deno.readFile(await other.download({ folder })), content);
      assertEquals(other.ranges, ["bytes=300000-", null]);
    });
  }));

Deno.test("an address that is none is refused by the command, and nothing is asked of it", async () => {
  const folder = await Deno.makeTempDir();
  for (const address of ["foo", "", "file:", "file:///etc", "http:"]) {
    const { code, stderr } = await runCommand(["weights", "vit_b", `--base-url=${address}`], {
      cwd: folder,
    });
    assertEquals([code, stderr.trim().split("\n").length], [1, 1], stderr);
    assert(stderr.startsWith("error: --base-url"), stderr);
  }
  assertEquals(filesIn(folder), []);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a cache that cannot be written to is named with the variable that moves it", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/cache`, "");
  const { code, stderr } = await runCommand(["weights", "vit_b"], { cwd: folder });
  assertEquals([code, stderr.trim().split("\n").length], [1, 1], stderr);
  assert(/^error: cannot write .*cache\/weights.*SAMLORA_CACHE/.test(stderr), stderr);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("the checkpoints are those of their publishers", () => {
  const fetched = Object.values(MODELS).flatMap(({ checkpoint }) => checkpoint ?? []);
  for (const { file, baseUrl, sha256 } of fetched) {
    assert(/^[\w.]+\.(pth|pt)$/.test(file) && /^[0-9a-f]{64}$/.test(sha256));
    assert(new URL(file, baseUrl).href.startsWith("https://"));
  }
});

Deno.test("the task refuses what is not the published file, and keeps nothing of it", () =>
  withServer([{ content: new Uint8Array(2_000_000) }], async ({ baseUrl, folder, ranges }) => {
    const run = (...args: string[]) => runCommand(["weights", ...args], { cwd: folder });
    const unknown = await run("vit_x");
    assertEquals([unknown.code, unknown.stdout], [1, ""]);
    assertEquals(
      unknown.stderr,
      "error: there is no model vit_x: name mobile_sam, vit_b, vit_l, vit_h, medsam, lite_medsam\n",
    );
    const wrong = await run("vit_b", "--base-url", baseUrl);
    assertEquals(wrong.code, 1);
    assert(wrong.stderr.startsWith(`error: ${baseUrl}/sam_vit_b_01ec64.pth is not the published`));
    assertEquals([ranges.length, filesIn(`${folder}/cache/weights`)], [1, []]);
  }));
