import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { dirname, join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { DEVICE_NOTE, openGpu, withVersion } from "../../lib/study/device.ts";
import {
  cardEnvironment,
  type Device,
  deviceNamed,
  gpuCards,
  gpuFile,
  listDevices,
  scheduledCard,
} from "../../lib/study/devices.ts";
import { assignCards, workersFor } from "../../lib/study/local_engine.ts";
import { submitOptionsOf } from "../../lib/study/schema.ts";
import { deviceArgs } from "../../lib/study/submit.ts";
import { runCommand } from "../experiments/command_line.ts";

/** A folder that stands for `/`, with these files, and links by their target. */
async function rootWith(files: Record<string, string | null>): Promise<string> {
  const root = await Deno.makeTempDir();
  for (const [path, target] of Object.entries(files)) {
    await Deno.mkdir(dirname(join(root, path)), { recursive: true });
    if (target === null) await Deno.writeTextFile(join(root, path), "");
    else await Deno.symlink(target, join(root, path));
  }
  return root;
}

Deno.test("the device file of a GPU is found, and none of what a virtual machine draws with", async () => {
  const driver = "sys/class/drm/renderD128/device/driver";
  const cases: [Record<string, string | null>, string | null][] = [
    [{}, null],
    [{ "dev/nvidiactl": null, "dev/nvidia0": null }, "/dev/nvidia0"],
    [{ "dev/nvidiactl": null }, null],
    [{ "dev/dri/renderD128": null, [driver]: "/drivers/amdgpu" }, "/dev/dri/renderD128"],
    [{ "dev/dri/renderD128": null, [driver]: "/drivers/virtio_gpu" }, null],
    [{ "dev/dri/renderD128": null }, null],
  ];
  for (const [files, expected] of cases) {
    const root = await rootWith(files);
    assertEquals(gpuFile(root), expected, JSON.stringify(files));
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("the list holds the adapter that a run opens, with the version of its driver", async () => {
  const { devices, chosen, unused } = await listDevices();
  using gpu = await openGpu({ webgpu: "deno", family: null });
  assertEquals(devices[chosen].name, gpu.info.name);
  assertEquals(devices[chosen].type, gpu.info.type);
  assertEquals(unused, gpu.info.type === "CPU" ? gpuFile() : null);
  if (/llvmpipe/.test(gpu.info.name)) assertMatch(devices[chosen].version!, /^Mesa \d+\.\d+/);
});

Deno.test("--device takes a number, a part of one name, or cpu", () => {
  const device = (name: string, type: "GPU" | "CPU"): Device => ({
    name,
    type,
    vendor: "",
    driver: "",
    features: [],
    maxBufferSize: 0,
    maxStorageBufferBindingSize: 0,
    version: null,
    env: {},
  });
  const devices = [
    device("NVIDIA H200", "GPU"),
    device("Intel UHD", "GPU"),
    device("llvmpipe", "CPU"),
  ];
  const name = (text: string) => deviceNamed(text, devices).name;
  assertEquals(["0", "h200", "2", "cpu", "CPU"].map(name), [
    "NVIDIA H200",
    "NVIDIA H200",
    "llvmpipe",
    "llvmpipe",
    "llvmpipe",
  ]);
  for (
    const [text, what] of [["3", "is no device"], ["amd", "is no device"], [
      "i",
      "is more than one",
    ]]
  ) {
    const { message } = assertThrows(() => deviceNamed(text, devices), InputError, what);
    assertMatch(message, /0 NVIDIA H200, 1 Intel UHD, 2 llvmpipe/);
  }
});

Deno.test("a CPU driver is refused while a GPU has none, and its version is recorded", async () => {
  const options = { webgpu: "deno", family: null } as const;
  const { info } = await openGpu(options).then(async (
    gpu,
  ) => (await gpu[Symbol.asyncDispose](), gpu));
  if (info.type !== "CPU") return;
  const note = (gpu: string | null) =>
    Deno.env.set(DEVICE_NOTE, JSON.stringify({ versions: { [info.vendor]: "Mesa 99" }, gpu }));
  try {
    note("/dev/nvidia0");
    const { message } = await assertRejects(() => openGpu(options), InputError);
    assertMatch(
      message,
      /^\/dev\/nvidia0 is a GPU's, but .*: install .*libnvidia-gl.*--device cpu$/,
    );
    note(null);
    await using gpu = await openGpu(options);
    assertEquals(withVersion(gpu.info).driver, "Mesa 99");
  } finally {
    Deno.env.delete(DEVICE_NOTE);
  }
});

Deno.test("./run devices lists, and --device refuses what is not there before anything is read", async () => {
  const cwd = await Deno.makeTempDir();
  const { code, stdout } = await runCommand(["devices", "--json"], { cwd });
  assertEquals(code, 0);
  assert(JSON.parse(stdout).devices.length > 0);
  const refused = await runCommand(["experiment", "vanilla", "--device", "no such card"], { cwd });
  assertEquals([...Deno.readDirSync(cwd)], []);
  await Deno.remove(cwd, { recursive: true });
  assertEquals([refused.code, refused.stdout], [1, ""]);
  assertMatch(
    refused.stderr,
    /^error: --device no such card is no device of this machine, which has 0 /,
  );
});

Deno.test("processes of one machine have GPUs in turn, and a job of Slurm has its own", async () => {
  const card = (node: string, address: string, driver: string) => ({
    [`dev/dri/${node}`]: null,
    [`sys/class/drm/${node}/device`]: `../../../devices/${address}`,
    [`sys/devices/${address}/driver`]: `/drivers/${driver}`,
  });
  const [first, second] = ["0000:01:00.0", "0000:41:00.0"];
  const root = await rootWith({
    ...card("renderD128", second, "amdgpu"),
    ...card("renderD129", "0000:00:02.0", "virtio_gpu"),
    [`proc/driver/nvidia/gpus/${first}/information`]: null,
  });
  try {
    const cards = gpuCards(root);
    assertEquals(cards, [first, second]);
    assertEquals([workersFor(null, cards), workersFor(null, []), workersFor(5, cards)], [2, 1, 5]);
    assertEquals(
      assignCards(3, cards).map(({ DRI_PRIME }) => DRI_PRIME),
      ["pci-0000_01_00_0", "pci-0000_41_00_0", "pci-0000_01_00_0"],
    );
    // With one GPU or none there is nothing to choose.
    assertEquals(assignCards(2, [first]), [{}, {}]);
    assertEquals(assignCards(2, []), [{}, {}]);
    assertEquals(scheduledCard("1", cards), cardEnvironment(second));
    assertEquals(scheduledCard("0,1", cards), cardEnvironment(first));
    for (const none of [undefined, "", "7"]) assertEquals(scheduledCard(none, cards), {});
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("a device that a submission names reaches its tasks", () => {
  const { devices } = submitOptionsOf({ engine: "local", workers: 2, device: "1", family: "cpu" });
  assertEquals(deviceArgs(devices), ["--device=1", "--family=cpu"]);
  assertEquals(deviceArgs(submitOptionsOf({ engine: "slurm" }).devices), []);
});
