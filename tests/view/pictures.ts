// Makes the pictures of results/view: deno run -A tests/view/pictures.ts --stack SCAN [--only NAME]
// SCAN is an axial scan of several slices of the dataset that the sample is from.
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { SAMPLE } from "../../lib/study/study_data.ts";
import { serveView, start, ViewPage } from "./open_page.ts";

const CASE = "CHENG-MEN-101127-000";
const OUT = join(import.meta.dirname!, "..", "..", "results", "view");
const { stack, only, at, slice } = parseArgs(Deno.args, {
  string: ["stack", "only", "at", "slice"],
  default: { at: "128,128", slice: "" },
});

const wait = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds));

/** Pictures by name: the address's scan, the window, and what is done before the picture is taken. */
const PICTURES: Readonly<
  Record<string, {
    readonly width: number;
    readonly height: number;
    readonly scheme: "light" | "dark";
    readonly scan?: string;
    steps(view: ViewPage): Promise<void>;
  }>
> = {
  click: {
    width: 1280,
    height: 760,
    scheme: "light",
    async steps(view) {
      const truth = join(SAMPLE, CASE, `${CASE}-seg.nii.gz`);
      await view.until(() => view.choose("truth-files", [truth]), /white line/);
      const place = await view.place([133, 94], [256, 256]);
      await view.until(() => view.page.mouse.click(...place), /Mask in/);
    },
  },
  planes: {
    width: 1280,
    height: 760,
    scheme: "dark",
    scan: stack,
    async steps(view) {
      if (slice !== "") {
        await view.page.evaluate(`{
          const slider = document.getElementById("slice");
          slider.value = "${slice}";
          slider.dispatchEvent(new Event("input"));
        }`);
      }
      const [x, y] = at.split(",").map(Number);
      const place = await view.place([x, y], [256, 256]);
      await view.until(() => view.page.mouse.click(...place), /Mask in|nothing/);
      await view.until(() => view.page.keyboard.press("s"), /Spreading: .* [3-9] done/);
      await view.page.keyboard.press("2");
    },
  },
  phone: {
    width: 390,
    height: 844,
    scheme: "light",
    async steps(view) {
      await view.page.click("input[value=box]");
      const corners = [[117, 80], [151, 113]] as const;
      const places: [number, number][] = [];
      for (const corner of corners) places.push(await view.place(corner, [256, 256]));
      await view.until(async () => {
        await view.page.mouse.move(...places[0]);
        await view.page.mouse.down();
        await view.page.mouse.move(...places[1], { steps: 4 });
        await view.page.mouse.up();
      }, /Mask in/);
    },
  },
};

const browser = await start();
try {
  await Deno.mkdir(OUT, { recursive: true });
  for (const [name, { scan, steps, ...window }] of Object.entries(PICTURES)) {
    if (only && name !== only) continue;
    await using server = await serveView(scan ? [scan] : [], OUT);
    const view = await ViewPage.open(browser, server.address, window);
    await view.settle();
    await steps(view);
    await wait(1500);
    await view.page.screenshot({ path: join(OUT, `${name}.png`) });
    console.log(name, await view.text("status"), await view.objects(), view.complaints);
    await view.page.close();
  }
} finally {
  await browser.close();
}
