/// <reference lib="dom" />
/**
 * The page of `./run view` in headless Chromium, driven by mouse, keys and files as a user drives it.
 *
 * @module
 */
import { join } from "node:path";
import type { Browser, ElementHandle, Page } from "puppeteer-core";
import type { Question, Questions } from "../../lib/view/protocol.ts";
import { command } from "../experiments/command_line.ts";
import { CHROMIUM, start } from "../webgpu/chromium.ts";

/** True if the browser that the tests drive is here. */
export function hasChromium(): boolean {
  try {
    return Deno.statSync(CHROMIUM).isFile;
  } catch {
    return false;
  }
}

/** A running `./run view`. */
export interface Served extends AsyncDisposable {
  readonly address: string;
}

/** Starts `./run view` on a free port, in a folder of its own. */
export async function serveView(args: readonly string[], cwd: string): Promise<Served> {
  const child = command(["view", ...args, "--port", "0", "--no-open"], { cwd }).spawn();
  const [, address] = /Open (\S+)/.exec(await firstLine(child.stdout)) ?? [];
  if (address === undefined) {
    const { stderr } = await child.output();
    throw new Error(`./run view did not start: ${new TextDecoder().decode(stderr)}`);
  }
  return {
    address,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await Promise.all([child.status, child.stderr.cancel()]);
    },
  };
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const reader = stream.getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { done, value } = await reader.read();
    if (done) break;
    text += new TextDecoder().decode(value);
  }
  reader.releaseLock();
  await stream.cancel();
  return text;
}

/** Milliseconds that a step may take: kernels are compiled, perhaps beside other work. */
const PATIENCE = 400_000;

/** Lines that Chromium writes of its own drivers. */
const OF_CHROMIUM = /GL Driver Message|software WebGL/;

/** An open page. */
export class ViewPage {
  readonly page: Page;
  /** Errors and warnings of the page, which has none. */
  readonly complaints: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.setDefaultTimeout(PATIENCE);
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("console", (message) => {
      const text = message.text();
      const isOdd = ["error", "warn"].includes(message.type());
      if (isOdd && !OF_CHROMIUM.test(text)) this.complaints.push(text);
    });
  }

  /** Opens the page at an address, and waits until the first slice is encoded. */
  static async open(
    browser: Browser,
    address: string,
    { width = 1280, height = 800, scheme = "light" }: {
      width?: number;
      height?: number;
      scheme?: "light" | "dark";
    } = {},
  ): Promise<ViewPage> {
    const view = new ViewPage(await browser.newPage());
    await view.page.setViewport({ width, height });
    await view.page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await view.page.goto(address);
    await view.page.waitForFunction(
      `["ready", "ended"].includes(document.documentElement.dataset.state)`,
    );
    return view;
  }

  /** Text of an element. */
  async text(id: string): Promise<string> {
    return await this.page.$eval(`#${id}`, (element) => element.textContent ?? "");
  }

  /** Names and sizes of the objects. */
  async objects(): Promise<string[]> {
    return await this.page.$$eval(
      "#objects .name",
      (all) => all.map((one) => one.textContent ?? ""),
    );
  }

  /** Waits until the worker has answered everything. */
  async settle(): Promise<void> {
    await this.page.waitForFunction(`samlora.pending === 0`);
  }

  /** Does something, and waits for the line or the sentence in which the page tells of it. */
  async until(work: () => Promise<unknown>, expected: RegExp): Promise<string> {
    await this.settle();
    await this.page.evaluate(`document.getElementById("status").textContent = ""`);
    await work();
    const told =
      `(document.getElementById("status").textContent + "|" + document.getElementById("error-text").textContent)`;
    try {
      await this.page.waitForFunction(`${expected}.test(${told})`);
    } catch {
      const veil = await this.text("veil-text");
      throw new Error(
        `the page does not say ${expected}, but ${await this.page.evaluate(told)} (${veil}; ` +
          `${this.complaints.join("; ")})`,
      );
    }
    return await this.page.evaluate(told) as string;
  }

  /** Place on the screen of a pixel of the slice that is shown alone, of so many columns and rows as it has. */
  async place(
    [x, y]: readonly [number, number],
    [width, height]: readonly [number, number],
  ): Promise<[number, number]> {
    const box = (await (await this.page.$("#canvas"))!.boundingBox())!;
    const scale = Math.min(box.width / width, box.height / height);
    return [
      box.x + box.width / 2 + (x + 0.5 - width / 2) * scale,
      box.y + box.height / 2 + (y + 0.5 - height / 2) * scale,
    ];
  }

  /** Chooses files with one of the page's choosers. */
  async choose(id: string, files: readonly string[]): Promise<void> {
    const input = await this.page.$(`#${id}`) as ElementHandle<HTMLInputElement>;
    await input.uploadFile(...files);
  }

  /** Drags files and folders over the picture, and drops them on one of the fields that appear. */
  async drop(paths: readonly string[], zone: "scan" | "truth" | "adapter"): Promise<void> {
    const session = await this.page.createCDPSession();
    const data = { items: [], files: [...paths], dragOperationsMask: 1 };
    const drag = async (type: "dragEnter" | "dragOver" | "drop", selector: string) => {
      const { x, y, width, height } = (await (await this.page.$(selector))!.boundingBox())!;
      const place = { x: x + width / 2, y: y + height / 2 };
      await session.send("Input.dispatchDragEvent", { type, ...place, data });
    };
    const field = `[data-drop=${zone}]`;
    await drag("dragEnter", "#canvas");
    await this.page.waitForSelector(field, { visible: true });
    for (const type of ["dragOver", "drop"] as const) await drag(type, field);
    await this.page.waitForSelector(field, { hidden: true });
    await session.detach();
  }

  /** Asks the worker; typed arrays arrive as lists. */
  async ask<Q extends Question>(
    question: Q,
    value: Parameters<Questions[Q]>[0],
  ): Promise<unknown> {
    return await this.page.evaluate(
      `samlora.ask(${JSON.stringify(question)}, ${JSON.stringify(value) ?? "undefined"})` +
        `.then((found) => ArrayBuffer.isView(found) ? Array.from(found) : found)`,
    );
  }

  /** Saves by a button of the page, into a folder. */
  async save(button: string, folder: string, name: string): Promise<string> {
    const session = await this.page.createCDPSession();
    await session.send("Browser.setDownloadBehavior", {
      behavior: "allow",
      downloadPath: folder,
      eventsEnabled: true,
    });
    const done = new Promise<void>((done) =>
      session.on("Browser.downloadProgress", ({ state }) => {
        if (state === "completed") done();
      })
    );
    await this.page.click(`#${button}`);
    await done;
    return join(folder, name);
  }
}

export { start };
