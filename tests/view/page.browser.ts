/// <reference lib="dom" />
// Drives the page of `./run view` in headless Chromium and compares it with the command line: deno task test:view.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { loadAdapter } from "../../lib/study/adapter_folder.ts";
import { applyAdapter } from "../../lib/adapters/apply_adapter.ts";
import { readVolume } from "../../lib/data/read_volume.ts";
import { writeNifti } from "../../lib/data/nifti_file.ts";
import type { Prompt } from "../../lib/data/prompts.ts";
import { loadSam } from "../../lib/files/pretrained.ts";
import { createVolume } from "../../lib/formats/volume.ts";
import { gridOf, type Recipe, recipeOf } from "../../lib/predict/recipe.ts";
import { SliceSegmenter } from "../../lib/predict/slice_segmenter.ts";
import { SamPredictor } from "../../lib/sam/predictor.ts";
import { adapterPath, SHIPPED_NAMES } from "../../lib/study/shipped.ts";
import { SAMPLE } from "../../lib/study/study_data.ts";
import { runCommand } from "../experiments/command_line.ts";
import { gpu } from "../gpu.ts";
import { hasChromium, serveView, start, ViewPage } from "./open_page.ts";

const ROOT = join(import.meta.dirname!, "..", "..");
const CASE = "CHENG-MEN-101127-000";
const SCAN = join(SAMPLE, CASE, `${CASE}-t1c.nii.gz`);
const TRUTH = join(SAMPLE, CASE, `${CASE}-seg.nii.gz`);
const SIZE = [256, 256] as const;
const CORPUS = join(ROOT, "tests", "fuzz", "corpus");
const FORMATS = join(ROOT, "tests", "formats", "fixtures", "formats");

/** Side of the model without an adapter. */
const SIDE = 256;

/** A click and a box on the sample's tumour. */
const POINT = [128, 82] as const;
const BOX = [114, 64, 147, 101] as const;

const ignore = !hasChromium();
if (ignore) {
  console.log(
    "No test of the page is run: there is no Chromium (Debian: apt-get install --no-install-recommends chromium)",
  );
}

/** Faults of a graphics device, made to happen in the worker, and what the page says of each. */
const FAULTS: readonly (readonly [program: string, says: RegExp])[] = [
  [
    `GPUAdapter.prototype.requestDevice = () => Promise.reject(new Error("busy"));`,
    /^The graphics device cannot be opened \(busy\): restart the browser/,
  ],
  [
    `const open = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...options) {
      const device = await open.apply(this, options);
      setTimeout(() => device.destroy(), 200);
      return device;
    };`,
    /^The graphics device was lost .*: save the masks/,
  ],
  [
    `const scopes = [], push = GPUDevice.prototype.pushErrorScope, pop = GPUDevice.prototype.popErrorScope;
    GPUDevice.prototype.pushErrorScope = function (kind) {
      scopes.push(kind);
      push.call(this, kind);
    };
    GPUDevice.prototype.popErrorScope = async function () {
      const kind = scopes.pop(), error = await pop.call(this);
      return kind === "out-of-memory" ? new GPUOutOfMemoryError("full") : error;
    };`,
    /^The graphics device has no memory left .*reload this page/,
  ],
];

/** A bright ball in a dark volume of few slices. */
function ball() {
  const shape = [48, 40, 5] as const;
  const data = Float32Array.from({ length: shape[0] * shape[1] * shape[2] }, (_, i) => {
    const [x, y, z] = [i % 48, Math.floor(i / 48) % 40, Math.floor(i / 1920)];
    const isIn = (x - 20) ** 2 + (y - 18) ** 2 + 9 * (z - 2) ** 2 < 90;
    return (isIn ? 220 : 50) + (i * 37) % 9;
  });
  // Turned, so that drawn and stored order differ.
  const affine = Float64Array.of(-1, 0, 0, 24, 0, -1, 0, 20, 0, 0, 3, -6, 0, 0, 0, 1);
  return createVolume(data, { shape, spacing: [1, 1, 3], affine });
}

/** Low-resolution logits of prompts in the sample's slice, by the code that `./run predict` runs. */
async function expectedLogits(
  adapter: string | null,
  prompts: readonly Prompt[],
): Promise<Float32Array[]> {
  const loaded = adapter === null ? null : await loadAdapter(adapterPath(adapter));
  const recipe: Recipe = loaded
    ? recipeOf(loaded)!.recipe
    : { model: "mobile_sam", side: SIDE, axis: 2, crop: null, rescale: "percentile" };
  const sam = await loadSam(gpu, { side: recipe.side });
  if (loaded) await applyAdapter(sam, loaded);
  using predictor = new SamPredictor(sam, { side: recipe.side });
  const volume = await readVolume(SCAN);
  using segmenter = new SliceSegmenter(predictor, {
    voxels: volume.data,
    grid: gridOf(volume, recipe),
    method: recipe.rescale,
  });
  const logits = [];
  for (const prompt of prompts) logits.push((await segmenter.segment(0, prompt)).logits);
  sam.dispose();
  return logits;
}

/** Largest difference of values. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assertEquals(a.length, b.length);
  return Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

/** Share of the voxels in which two masks agree. */
async function agreement(a: string, b: string): Promise<number> {
  const [own, other] = [await readVolume(a), await readVolume(b)];
  assertEquals(own.shape, other.shape);
  assertEquals([...own.affine], [...other.affine]);
  assert(own.data.includes(1), "the mask is empty");
  return own.data.reduce((sum, value, i) => sum + Number(value === other.data[i]), 0) /
    own.data.length;
}

/** Masks and table of the page's object, and those of `./run predict`, agree. */
async function compareWithPredict(
  view: ViewPage,
  { folder, scan, args, mask }: {
    folder: string;
    scan: string;
    args: readonly string[];
    mask: string;
  },
): Promise<void> {
  const [own, out] = [join(folder, "page"), join(folder, "predict")];
  for (const path of [own, out]) await Deno.remove(path, { recursive: true }).catch(() => {});
  const saved = await view.save("save-mask", own, mask);
  const table = await Deno.readTextFile(await view.save("save-table", own, "predictions.csv"));
  const { code, stderr } = await runCommand(["predict", scan, "--out", out, ...args], {
    cwd: folder,
  });
  assertEquals([code, stderr], [0, ""]);
  const agrees = await agreement(saved, join(out, mask));
  assert(agrees >= 0.999, `masks agree on ${agrees}`);
  const cells = (text: string) => text.trim().split(/\r\n/).map((line) => line.split(","));
  const [[header, row], [otherHeader, other]] = [
    cells(table),
    cells(await Deno.readTextFile(join(out, "predictions.csv"))),
  ];
  assertEquals(header, otherHeader);
  assertEquals(row[0], other[0]);
  const [volume, known] = [Number(row[1]), Number(other[1])];
  assert(Math.abs(volume - known) <= 0.01 * known, `${volume} ml, predict has ${known} ml`);
}

Deno.test({
  name: "the page segments as the command line does, and says what is wrong with hostile files",
  ignore,
  async fn(t) {
    const folder = await Deno.makeTempDir();
    await using server = await serveView(["--side", String(SIDE)], folder);
    const browser = await start();
    try {
      const view = await ViewPage.open(browser, server.address);
      const click = async (x: number, y: number, size = SIZE as readonly [number, number]) =>
        await view.page.mouse.click(...await view.place([x, y], size));
      const adapter = join(adapterPath(SHIPPED_NAMES[0]));
      const box = async () => {
        await view.page.keyboard.press("b");
        await view.page.mouse.move(...await view.place([BOX[0], BOX[1]], SIZE));
        await view.page.mouse.down();
        await view.page.mouse.move(...await view.place([140, 90], SIZE));
        await view.page.mouse.move(...await view.place([BOX[2] - 1, BOX[3] - 1], SIZE));
        await view.page.mouse.up();
      };

      await t.step("it opens on a slice of the sample with the package's adapter", async () => {
        assertMatch(await view.text("status"), /^Slice 1 is ready/);
        assertMatch(await view.text("scan-name"), new RegExp(`^${CASE}.* 256 × 256 × 1 voxels`));
        const chosen = await view.page.$eval(
          "#adapter",
          (list) => (list as HTMLSelectElement).value,
        );
        assertEquals(chosen, SHIPPED_NAMES[0]);
      });

      const prompts: Prompt[] = [
        { points: [{ x: POINT[0], y: POINT[1], label: 1 }] },
        { box: [...BOX] },
      ];

      await t.step("a click has the logits and the mask of predict, with the adapter", async () => {
        const [point] = await expectedLogits(SHIPPED_NAMES[0], prompts);
        await view.until(() => click(...POINT), /Mask in/);
        const off = difference(await view.ask("logits", 0) as number[], point);
        assert(off < 1e-3, `logits differ by ${off}`);
        await compareWithPredict(view, {
          folder,
          scan: SCAN,
          args: ["--adapter", adapter, "--point", `${POINT.join()},0`],
          mask: `${CASE}-seg.nii.gz`,
        });
      });

      await t.step(
        "Dice follows a truth, background clicks, undo and further objects",
        async () => {
          const shown = async () => Number.parseFloat(await view.text("dice-volume"));
          await view.until(() => view.drop([TRUTH], "truth"), /white line/);
          const before = await shown();
          assert(before > 70, `Dice ${before} %`);
          await view.page.keyboard.press("x");
          await view.until(() => click(POINT[0], POINT[1] + 30), /Mask in|nothing/);
          const { prompts } = (await view.ask("choose", 1) as { objects: { prompts: object[] }[] })
            .objects[0];
          assertMatch(JSON.stringify(prompts), /"label":1.*"label":0/);
          await view.until(() => view.page.keyboard.press("u"), /Taken back/);
          assertEquals(await shown(), before);
          await view.until(() => view.page.keyboard.press("Enter"), /Accepted/);
          await view.until(box, /Mask in/);
          assertEquals((await view.objects()).map((text) => text.replace(/\d.*/, "")), [
            "Object ",
            "Object ",
          ]);
          await view.page.keyboard.down("Control");
          await view.until(() => view.page.keyboard.press("z"), /Taken back/);
          await view.page.keyboard.up("Control");
          assertEquals((await view.objects()).length, 1);
        },
      );

      await t.step("without an adapter a box has the logits and the mask of predict", async () => {
        await view.settle();
        await view.page.select("#adapter", "none");
        await view.page.waitForFunction(
          `/as it was pretrained/.test(document.getElementById("adapter-about").textContent)`,
        );
        await view.settle();
        await view.until(() => view.page.click("#objects .remove"), /^/);
        await view.settle();
        await view.until(box, /Mask in/);
        const [, expected] = await expectedLogits(null, prompts);
        const off = difference(await view.ask("logits", 0) as number[], expected);
        assert(off < 1e-3, `logits differ by ${off}`);
        await compareWithPredict(view, {
          folder,
          scan: SCAN,
          args: ["--adapter", "vanilla", "--side", String(SIDE), "--box", BOX.join()],
          mask: `${CASE}-seg.nii.gz`,
        });
      });

      await t.step(
        "an object spreads through a volume as in predict, and keys change slices",
        async () => {
          const scan = join(folder, "ball.nii.gz");
          await writeNifti(scan, ball(), { datatype: "uint8" });
          await view.until(() => view.choose("scan-files", [scan]), /Slice 3 is ready/);
          await view.page.keyboard.press("ArrowUp");
          assertEquals(await view.text("slice-text"), "Slice 4 of 5");
          await view.page.keyboard.press("ArrowDown");
          await view.page.keyboard.press("v"); // NiiVue's own key for another view
          await view.page.keyboard.press("p");
          // Both in-plane axes of the file run against those of the picture: stored as drawn in radiological convention.
          await view.until(() => click(20, 18, [48, 40]), /Mask in/);
          await view.until(
            () => view.page.keyboard.press("s"),
            /Spread: the object is in [2-5] slices/,
          );
          await compareWithPredict(view, {
            folder,
            scan,
            args: ["--adapter", "vanilla", "--side", String(SIDE), "--point", "20,18,2"],
            mask: "ball-seg.nii.gz",
          });
          for (const key of ["2", "3", "1"] as const) await view.page.keyboard.press(key);
        },
      );

      await t.step(
        "dropped DICOM, PNG and header with voxels open; a folder of two series asks for one",
        async () => {
          const paths = (...names: string[]) => names.map((name) => join(FORMATS, name));
          await view.until(() => view.drop(paths("dicom_one"), "scan"), /ready/);
          assertMatch(await view.text("scan-name"), /^dicom_one · /);
          const files = [...Deno.readDirSync(join(FORMATS, "dicom_two"))];
          await view.choose("scan-files", paths(...files.map(({ name }) => `dicom_two/${name}`)));
          await view.page.waitForSelector("#series[open]");
          await view.until(() => view.page.click("#series button.primary"), /ready/);
          for (const names of [["grey.png"], ["pair.raw", "pair.mhd"]]) {
            await view.until(() => view.drop(paths(...names), "scan"), /ready/);
            assertMatch(await view.text("scan-name"), new RegExp(`^${names.at(-1)}`));
          }
          await view.until(() => view.drop(paths("grey.png"), "adapter"), /\|This is no adapter/);
        },
      );

      await t.step("hostile scans and adapters get a sentence, and the page goes on", async () => {
        const [name, objects] = [await view.text("scan-name"), await view.objects()];
        for (const kind of ["nifti", "peft"]) {
          for (const { name } of Deno.readDirSync(join(CORPUS, kind))) {
            const zone = kind === "nifti" ? "scan" : "adapter";
            const path = join(CORPUS, kind, name);
            await view.until(() => view.drop([path], zone), /\|.|ready|^[^|]/);
            await view.settle();
            const told = await view.text("error-text");
            assert(
              !/went wrong in the program|undefined|\bat \w+ \(/.test(told),
              `${name}: ${told}`,
            );
          }
        }
        const damaged = join(folder, "damaged.nii.gz");
        await Deno.writeFile(damaged, (await Deno.readFile(SCAN)).slice(0, 9000));
        const told = await view.until(() => view.choose("scan-files", [damaged]), /\|./);
        assertMatch(
          told,
          /damaged\.nii\.gz is truncated or damaged .*: copy or download it again/i,
        );
        await view.until(() => view.choose("truth-files", [TRUTH]), /\|.*differ in shape/);
        const odd = join(folder, "odd.pth");
        await Deno.writeFile(odd, Uint8Array.from({ length: 500 }, (_, i) => (i * 97) % 256));
        await view.until(
          () => view.choose("adapter-files", [odd]),
          /\|.*odd\.pth holds no weights/,
        );
        await view.page.keyboard.press("Escape");
        assert(name !== "" && objects.length === 0);
        await view.until(() => view.choose("scan-files", [SCAN]), /ready/);
        await view.until(() => click(...POINT), /Mask in/);
      });

      await t.step("keys alone move a cross and draw a box", async () => {
        const { keyboard } = view.page;
        const move = async (
          key: "ArrowLeft" | "ArrowRight" | "ArrowUp" | "ArrowDown",
          n: number,
        ) => {
          for (let i = 0; i < n; i++) await keyboard.press(key);
        };
        await view.until(() => keyboard.press("Enter"), /Accepted/);
        await keyboard.press("b");
        await keyboard.down("Shift");
        await move("ArrowUp", 2);
        await keyboard.up("Shift");
        await view.until(() => keyboard.press(" "), /a corner of the box/);
        await keyboard.down("Shift");
        await move("ArrowLeft", 9);
        await move("ArrowUp", 7);
        await keyboard.up("Shift");
        await view.until(() => keyboard.press(" "), /Mask in|nothing/);
        const { objects } = await view.ask("choose", 99) as { objects: { prompts: object[] }[] };
        const [{ prompt: { box: [left, top, right, bottom] } }] = objects.at(-1)!
          .prompts as { prompt: { box: number[] } }[];
        assertEquals([right - left, bottom - top], [10, 8]);
        await view.page.focus("#objects .name");
        await keyboard.press("Enter");
        await view.settle();
        assertEquals(await view.page.evaluate("document.activeElement.className"), "name");
      });

      await t.step("every control has a name, and the page fits into 390 pixels", async () => {
        const nameless = await view.page.evaluate(`
          [...document.querySelectorAll("button, input:not([hidden]), select, canvas, progress")]
            .filter((one) => !one.closest("[hidden]") && !one.getAttribute("aria-label") &&
              !one.getAttribute("aria-labelledby") && !one.textContent.trim() &&
              !one.closest("label")?.textContent.trim())
            .map((one) => one.outerHTML)`);
        assertEquals(nameless, []);
        await view.page.setViewport({ width: 390, height: 844 });
        const width = await view.page.evaluate("document.documentElement.scrollWidth");
        assertEquals(width, 390);
        await view.page.setViewport({ width: 1280, height: 800 });
      });

      assertEquals(view.complaints, []);
    } finally {
      await browser.close();
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "static files run below a folder of another server, under their own policy alone",
  ignore,
  async fn(t) {
    const folder = await Deno.makeTempDir();
    const out = join(folder, "site");
    const built = await runCommand(["view", "--build", out], { cwd: folder });
    assertEquals([built.code, built.stderr], [0, ""]);
    const again = await runCommand(["view", "--build", out], { cwd: folder });
    assertEquals(again.code, 1);
    assertMatch(again.stderr, /--build .* exists: name a new folder/);
    const asked: string[] = [];
    let isDamaged = true;
    let before = ""; // what runs ahead of the worker's program
    await using server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      async ({ url }) => {
        const { pathname } = new URL(url);
        asked.push(pathname);
        const name = pathname.replace("/some/where/", "") || "index.html";
        const type = { html: "text/html", css: "text/css", js: "text/javascript" }[
          name.split(".").at(-1)!
        ] ?? "application/octet-stream";
        const body = await Deno.readFile(join(out, name)).catch(() => null);
        if (isDamaged && name === "weights/0") body![1000] ^= 1;
        const content = name === "worker.js" ? new Blob([before, body!]) : body;
        return new Response(content, {
          status: body ? 200 : 404,
          headers: { "content-type": type },
        });
      },
    );
    const browser = await start();
    try {
      const page = await browser.newPage();
      page.setDefaultTimeout(120_000);
      const others: string[] = [];
      page.on("request", (request) => {
        const { protocol, hostname } = new URL(request.url());
        if (protocol.startsWith("http") && hostname !== "127.0.0.1") others.push(request.url());
      });
      const address = `http://127.0.0.1:${server.addr.port}/some/where/`;
      const veil = `document.getElementById("veil-text").textContent`;
      await page.goto(address);
      await page.waitForFunction(`/SHA-256/.test(${veil})`);
      assertMatch(
        await page.evaluate(veil) as string,
        /^encoder\.onnx is not the published file .*: the server has another file; build the page again/,
      );
      isDamaged = false;
      asked.length = 0;
      await page.reload();
      await page.waitForFunction(
        `/used as it was trained/i.test(document.getElementById("adapter-about").textContent)`,
      );
      assertEquals(others, []);
      assert(asked.every((path) => path.startsWith("/some/where/")), asked.join());
      // The page may neither evaluate text nor talk to another host.
      const refused = await page.evaluate(`
        fetch("http://127.0.0.1:9/").then(() => "fetched", (error) => error.name)`);
      assertEquals(refused, "TypeError");
      // Weights are kept: a second visit asks for everything but them.
      asked.length = 0;
      await page.reload();
      await page.waitForFunction(
        `/used as it was trained/i.test(document.getElementById("adapter-about").textContent)`,
      );
      assertEquals(asked.filter((path) => path.includes("/weights/")), []);
      await t.step("a device that is lost, refused or full is told of in a sentence", async () => {
        for (const [fault, expected] of FAULTS) {
          before = fault;
          await page.reload();
          await page.waitForFunction(`document.documentElement.dataset.state === "ended"`);
          assertMatch(await page.evaluate(veil) as string, expected);
          assert(await page.$eval("#open-scan", (one) => (one as HTMLButtonElement).disabled));
        }
        await page.evaluateOnNewDocument(`HTMLCanvasElement.prototype.getContext = () => null`);
        await page.reload();
        await page.waitForFunction(`/allow it WebGL 2/.test(${veil})`);
      });
    } finally {
      await browser.close();
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "without WebGPU the page says what to do",
  ignore,
  async fn() {
    const folder = await Deno.makeTempDir();
    await using server = await serveView([], folder);
    const browser = await start([]);
    try {
      const page = await browser.newPage();
      await page.goto(server.address);
      const veil = `document.getElementById("veil-text").textContent`;
      await page.waitForFunction(`/WebGPU/.test(${veil})`);
      assertMatch(await page.evaluate(veil) as string, /no access to WebGPU.*current Chrome, Edge/);
    } finally {
      await browser.close();
      await Deno.remove(folder, { recursive: true });
    }
  },
});
