/// <reference lib="dom" />
// deno task bench:view: time to encode a slice and from click to mask in headless Chromium, by the page of `./run view`
// and by ONNX Runtime Web on WebGPU and WebAssembly with the same weights, in turns.
//   --clicks N    clicks of each (default 20)     --encodes N  slices of each (default 3)
//   --adapter A   adapter (default: the package's)     --json FILE  write the figures
//   --peers A,B   ONNX Runtime's providers (default webgpu,wasm)
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import type { Page } from "puppeteer-core";
import metadata from "../../deno.json" with { type: "json" };
import { writeNifti } from "../../lib/data/nifti_file.ts";
import { readVolume } from "../../lib/data/read_volume.ts";
import { createVolume } from "../../lib/formats/volume.ts";
import { Random } from "../../lib/random.ts";
import { ONNX_FRAME } from "../../lib/sam/onnx_encoder.ts";
import { adapterPath, SHIPPED_NAMES } from "../../lib/study/shipped.ts";
import { SAMPLE } from "../../lib/study/study_data.ts";
import { runCommand } from "../experiments/command_line.ts";
import { serveView, start, ViewPage } from "../view/open_page.ts";
import { median, table } from "./measure.ts";

const ROOT = join(import.meta.dirname!, "..", "..");
const CASE = "CHENG-MEN-101127-000";
const SCAN = join(SAMPLE, CASE, `${CASE}-t1c.nii.gz`);
const SIDE = 256;

/** Times of one program in milliseconds. */
interface Times {
  readonly name: string;
  readonly encode: number[];
  readonly click: number[];
}

/** A program that is timed. */
interface Timed {
  readonly times: Times;
  /** Brings its page to the front: those behind are given neither clicks nor frames. */
  show(): Promise<void>;
  /** Encodes a slice; ours decodes a mask as well, to compile what that takes. */
  encode(index: number): Promise<number>;
  /** Clicks into it. */
  click(x: number, y: number): Promise<number>;
}

const { clicks, encodes, adapter, json, peers } = parseArgs(Deno.args, {
  string: ["clicks", "encodes", "adapter", "json", "peers"],
  default: { clicks: "20", encodes: "3", adapter: SHIPPED_NAMES[0], peers: "webgpu,wasm" },
});

/** The page of `./run view`; its clicks are timed from the mouse to the drawn mask. */
async function ours(view: ViewPage, scan: string): Promise<Timed> {
  await view.until(() => view.choose("scan-files", [scan]), /ready/);
  return {
    times: { name: "samlora (WebGPU)", encode: [], click: [] },
    show: () => view.page.bringToFront(),
    async encode(index) {
      await view.settle();
      return (await view.ask("prepare", index) as { milliseconds: number }).milliseconds;
    },
    async click(x, y) {
      await view.ask("accept", undefined);
      const before = await view.page.evaluate(
        "performance.getEntriesByName('click-to-mask').length",
      );
      await view.page.mouse.click(...await view.place([x, y], [SIDE, SIDE]));
      await view.page.waitForFunction(
        `performance.getEntriesByName("click-to-mask").length > ${before}`,
      );
      return await view.page.evaluate(
        `performance.getEntriesByName("click-to-mask").at(-1).duration`,
      ) as number;
    },
  };
}

/** ONNX Runtime Web on a page of its own, in its main thread. */
async function theirs(page: Page, provider: "webgpu" | "wasm", pixels: string): Promise<Timed> {
  page.setDefaultTimeout(0);
  await page.evaluate(`(async () => {
    const ort = await import("/ort/ort.min.mjs");
    ort.env.wasm.wasmPaths = "/ort/";
    ort.env.wasm.numThreads = navigator.hardwareConcurrency;
    const options = { executionProviders: ["${provider}"] };
    const [encoder, decoder] = [
      await ort.InferenceSession.create("/model.encoder.onnx", options),
      await ort.InferenceSession.create("/model.decoder.onnx", options),
    ];
    const data = new Float32Array(await (await fetch("${pixels}")).arrayBuffer());
    const side = ${ONNX_FRAME};
    let embeddings;
    window.encode = async () => {
      const start = performance.now();
      ({ image_embeddings: embeddings } = await encoder.run({
        input_image: new ort.Tensor("float32", data, [side, side, 3]),
      }));
      return performance.now() - start;
    };
    window.click = async (x, y) => {
      const start = performance.now();
      const scale = side / ${SIDE};
      const { masks } = await decoder.run({
        image_embeddings: embeddings,
        point_coords: new ort.Tensor("float32", [x * scale, y * scale, 0, 0], [1, 2, 2]),
        point_labels: new ort.Tensor("float32", [1, -1], [1, 2]),
        mask_input: new ort.Tensor("float32", new Float32Array(65536), [1, 1, 256, 256]),
        has_mask_input: new ort.Tensor("float32", [0], [1]),
        orig_im_size: new ort.Tensor("float32", [${SIDE}, ${SIDE}], [2]),
      });
      await masks.getData();
      return performance.now() - start;
    };
  })()`);
  const name = `onnxruntime-web ${metadata.imports["onnxruntime-web"].split("@").at(-1)} (${
    provider === "webgpu" ? "WebGPU" : "WASM"
  })`;
  return {
    times: { name, encode: [], click: [] },
    show: () => page.bringToFront(),
    encode: () => page.evaluate("encode()") as Promise<number>,
    click: (x, y) => page.evaluate(`click(${x}, ${y})`) as Promise<number>,
  };
}

/** Serves the graphs, the library and the picture, isolated so that WebAssembly may have threads. */
function serve(folder: string): Deno.HttpServer<Deno.NetAddr> {
  const dist = join(ROOT, "node_modules", "onnxruntime-web", "dist");
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async ({ url }) => {
    const { pathname } = new URL(url);
    const isPage = pathname === "/";
    const path = pathname.startsWith("/ort/")
      ? join(dist, pathname.slice(5))
      : join(folder, pathname);
    const body = isPage ? "<!doctype html><title>bench</title>" : await Deno.readFile(path)
      .catch(() => null);
    const type = isPage
      ? "text/html"
      : /\.m?js$/.test(path)
      ? "text/javascript"
      : path.endsWith(".wasm")
      ? "application/wasm"
      : "application/octet-stream";
    const headers = {
      "content-type": type,
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
    };
    return new Response(body, { status: body === null ? 404 : 200, headers });
  });
}

const folder = await Deno.makeTempDir();
const browser = await start();
try {
  const merged = await runCommand(
    ["merge", adapterPath(adapter), "--onnx", "--out", join(folder, "model")],
    { cwd: folder },
  );
  if (merged.code !== 0) throw new Error(merged.stderr);
  // Slices that differ, so that each has to be encoded.
  const { data } = await readVolume(SCAN);
  const count = Number(encodes) + 1;
  const stack = Float32Array.from(
    { length: data.length * count },
    (_, i) => data[i % data.length] + Math.floor(i / data.length),
  );
  const scan = join(folder, "stack.nii");
  await writeNifti(scan, createVolume(stack, { shape: [SIDE, SIDE, count] }), {
    datatype: "float32",
  });
  const repeats = ONNX_FRAME / SIDE;
  const picture = Float32Array.from({ length: 3 * ONNX_FRAME ** 2 }, (_, i) => {
    const pixel = Math.floor(i / 3);
    const [x, y] = [pixel % ONNX_FRAME, Math.floor(pixel / ONNX_FRAME)];
    return data[Math.floor(y / repeats) * SIDE + Math.floor(x / repeats)];
  });
  await Deno.writeFile(join(folder, "pixels.bin"), new Uint8Array(picture.buffer));

  await using view = await serveView(["--adapter", adapter], folder);
  await using server = serve(folder);
  const open = async () => {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.addr.port}/`);
    return page;
  };
  const page = await ViewPage.open(browser, view.address);
  const programs: Timed[] = [await ours(page, scan)];
  for (const provider of peers.split(",") as ("webgpu" | "wasm")[]) {
    try {
      programs.push(await theirs(await open(), provider, "/pixels.bin"));
    } catch (error) {
      console.log(`failed: onnxruntime-web on ${provider}: ${error}`);
    }
  }
  const middle = count >> 1; // the page has encoded it when it opened
  for (const program of programs) { // kernels are compiled here
    await program.show();
    await program.encode(middle);
    await program.click(SIDE / 2, SIDE / 2);
    console.log(`ready: ${program.times.name}`);
  }
  const before = Deno.loadavg()[0];
  for (let i = 0; i < count; i++) {
    if (i === middle) continue;
    for (const { times, show, encode } of programs) {
      await show();
      times.encode.push(await encode(i));
    }
  }
  const random = new Random(0);
  for (let i = 0; i < Number(clicks); i++) {
    const [x, y] = [0, 1].map(() => Math.floor(SIDE * (0.3 + 0.4 * random.uniform())));
    for (const { times, show, click } of programs) {
      await show();
      times.click.push(await click(x, y));
    }
  }
  const rows = programs.map(({ times: { name, encode, click } }) => [
    name,
    median(encode),
    median(click),
  ]);
  console.log(table(["Program", "encode, ms", "click to mask, ms"], rows));
  console.log(
    `${await browser.version()}, SwiftShader; ${
      count - 1
    } slices and ${clicks} clicks of each in turns; load ` +
      `${before.toFixed(1)} before, ${
        Deno.loadavg()[0].toFixed(1)
      } after, of ${navigator.hardwareConcurrency} cores.`,
  );
  if (json) {
    const record = { load: before, programs: programs.map(({ times }) => times) };
    await Deno.writeTextFile(json, `${JSON.stringify(record, null, 2)}\n`);
  }
} finally {
  await browser.close();
  await Deno.remove(folder, { recursive: true });
}
