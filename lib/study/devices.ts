/**
 * Devices that WebGPU can open on this machine. Deno shows one adapter at a time, of the Vulkan driver that
 * the loader prefers: the others are found by a process a driver.
 *
 * @module
 */
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import { DEVICE_NOTE, type DeviceNote } from "./device.ts";
import { SCHEDULER } from "./lease.ts";

const adapterSchema = v.object({
  name: v.string(),
  vendor: v.string(),
  driver: v.string(),
  type: v.picklist(["GPU", "CPU"]),
  features: v.array(v.string()),
  maxBufferSize: v.number(),
  maxStorageBufferBindingSize: v.number(),
});

/** An adapter as a process of its own saw it, with its limits in bytes. */
export type FoundAdapter = v.InferOutput<typeof adapterSchema>;

/** A device, and the environment in which a process opens it. */
export interface Device extends FoundAdapter {
  /** Driver with its version, such as "Mesa 22.3.6"; null if it does not tell. */
  readonly version: string | null;
  /** Variables of the environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** Devices, those of GPUs first. */
export interface DeviceList {
  readonly devices: readonly Device[];
  /** Index of the device that a run takes unless told otherwise; -1 if there is none. */
  readonly chosen: number;
  /** Device file of a GPU that no driver opens; null if there is none. */
  readonly unused: string | null;
}

/** Vulkan driver: the file that describes it to the loader, and the library that it names. */
interface Driver {
  readonly manifest: string;
  readonly library: string;
}

/** Makers of adapters by their PCI number, and the name that the files of their Vulkan drivers hold. */
const MAKERS: Readonly<Record<string, RegExp>> = {
  65541: /^lvp_/,
  6880: /swiftshader/,
  4318: /^nvidia/,
  4098: /^radeon|^amd/,
  32902: /^intel/,
};

/** Kernel drivers of GPUs; others have a render node too, but show what a virtual machine draws. */
const GPU_DRIVERS = /^(nvidia.*|nouveau|amdgpu|radeon|i915|xe|msm|panfrost|panthor|asahi|v3d)$/;

/**
 * Device file of a GPU, such as `/dev/nvidia0`; null if there is none.
 *
 * @param root Folder that stands for `/`.
 */
export function gpuFile(root = "/"): string | null {
  const nvidia = namesIn(join(root, "dev")).find((name) => /^nvidia\d+$/.test(name));
  if (nvidia) return `/dev/${nvidia}`;
  for (const node of namesIn(join(root, "dev/dri")).filter((name) => /^renderD\d+$/.test(name))) {
    try {
      const driver = Deno.readLinkSync(join(root, "sys/class/drm", node, "device/driver"));
      if (GPU_DRIVERS.test(basename(driver))) return `/dev/dri/${node}`;
    } catch {
      // It is no device with a driver of its own.
    }
  }
  return null;
}

/**
 * PCI addresses of the GPUs of this machine, such as `0000:01:00.0`, in the order in which drivers number
 * them.
 *
 * @param root Folder that stands for `/`.
 */
export function gpuCards(root = "/"): string[] {
  const found = new Set(namesIn(join(root, "proc/driver/nvidia/gpus")));
  for (const node of namesIn(join(root, "dev/dri")).filter((name) => /^renderD\d+$/.test(name))) {
    const device = join(root, "sys/class/drm", node, "device");
    try {
      if (!GPU_DRIVERS.test(basename(Deno.readLinkSync(join(device, "driver"))))) continue;
      found.add(basename(Deno.readLinkSync(device)));
    } catch {
      // It is no device with a driver of its own.
    }
  }
  return [...found].sort();
}

/**
 * Variables with which a process opens one of several GPUs: Mesa's layer, which the Vulkan loader puts in
 * front of every driver, shows that alone.
 *
 * @param card PCI address.
 */
export function cardEnvironment(card: string): Record<string, string> {
  return {
    DRI_PRIME: `pci-${card.replaceAll(/[:.]/g, "_")}`,
    MESA_VK_DEVICE_SELECT_FORCE_DEFAULT_DEVICE: "1",
  };
}

/**
 * Variables for the GPU that Slurm has given to this process, where the machine has several: programs see all
 * of them unless the cluster hides the others.
 *
 * @param numbers Slurm's list, such as `1` or `2,3`; the first is taken.
 */
export function scheduledCard(
  numbers: string | undefined,
  cards: readonly string[],
): Record<string, string> {
  const card = cards[Number(numbers?.split(/[,-]/)[0] || NaN)];
  return card !== undefined && cards.length > 1 ? cardEnvironment(card) : {};
}

function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  } catch {
    return [];
  }
}

/** Folders and files that the search for devices reads. */
export const DEVICE_PATHS = ["/usr", "/etc/vulkan", "/dev", "/sys", "/proc/driver"];

/** Folders that the list of GPUs is read from. */
export const CARD_PATHS = ["/dev/dri", "/sys", "/proc/driver"];

/** Vulkan drivers that the loader knows. */
function drivers(): Driver[] {
  const named = Deno.env.get("VK_DRIVER_FILES") ?? Deno.env.get("VK_ICD_FILENAMES");
  const home = Deno.env.get("XDG_DATA_HOME") ?? join(Deno.env.get("HOME") ?? "/", ".local/share");
  const folders = ["/usr/share", "/usr/local/share", "/etc", home].map((folder) =>
    join(folder, "vulkan/icd.d")
  );
  const files = named?.split(":") ??
    folders.flatMap((folder) =>
      namesIn(folder).filter((name) => name.endsWith(".json")).map((name) => join(folder, name))
    );
  return files.flatMap((manifest) => {
    try {
      const { ICD: { library_path: path } } = JSON.parse(Deno.readTextFileSync(manifest));
      return [{ manifest, library: path.includes("/") ? resolve(dirname(manifest), path) : path }];
    } catch {
      return []; // the loader passes over it, too
    }
  });
}

/**
 * Versions of the Vulkan drivers by their makers' PCI number, as far as they tell: Mesa's libraries hold
 * theirs, NVIDIA's kernel module says it.
 */
export function driverVersions(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { manifest, library } of drivers()) {
    const maker = Object.keys(MAKERS).find((maker) => MAKERS[maker].test(basename(manifest)));
    const version = maker === "4318" ? nvidiaVersion() : mesaVersion(library);
    if (maker && version) found[maker] = version;
  }
  return found;
}

function mesaVersion(library: string): string | null {
  try {
    const text = new TextDecoder("latin1").decode(Deno.readFileSync(library));
    return /Mesa \d+\.\d+\.\d+[\w.-]*/.exec(text)?.[0] ?? null;
  } catch {
    return null;
  }
}

function nvidiaVersion(): string | null {
  try {
    const text = Deno.readTextFileSync("/proc/driver/nvidia/version");
    const version = /\s(\d+(?:\.\d+)+)\s/.exec(text)?.[1];
    return version ? `NVIDIA ${version}` : null;
  } catch {
    return null;
  }
}

/** Adapters that a process with these variables is shown: the one for performance, and the one for little power. */
async function probe(env: Readonly<Record<string, string>>): Promise<FoundAdapter[]> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      fileURLToPath(import.meta.resolve("./probe_device.ts")),
    ],
    env: { ...env },
    stderr: "null",
  }).output();
  try {
    return v.parse(v.array(adapterSchema), JSON.parse(new TextDecoder().decode(stdout)));
  } catch {
    return []; // a driver that crashes opens nothing
  }
}

/** Finds all devices. */
export async function listDevices(): Promise<DeviceList> {
  const versions = driverVersions();
  const known = drivers();
  const environments: Record<string, string>[] = known.length > 0
    // Without the backend wgpu falls back to OpenGL, which has another driver's devices.
    ? known.map(({ manifest }) => ({ VK_DRIVER_FILES: manifest, DENO_WEBGPU_BACKEND: "vulkan" }))
    : [{}];
  const devices: Device[] = [];
  for (const env of environments) {
    const found = await probe(env);
    for (const [i, adapter] of found.entries()) {
      if (found.slice(0, i).some((other) => isSame(other, adapter))) continue;
      devices.push({ ...adapter, version: versions[adapter.vendor] ?? null, env });
    }
  }
  devices.sort((a, b) => Number(a.type === "CPU") - Number(b.type === "CPU"));
  const [taken] = await probe({});
  const chosen = taken ? devices.findIndex((device) => isSame(device, taken)) : -1;
  const unused = devices.some(({ type }) => type === "GPU") ? null : gpuFile();
  return { devices, chosen, unused };
}

function isSame(a: FoundAdapter, b: FoundAdapter): boolean {
  return a.name === b.name && a.vendor === b.vendor;
}

/**
 * The device that a text names: its number in the list, a part of its name, or `cpu`.
 *
 * @throws {InputError} if none or several are meant.
 */
export function deviceNamed(text: string, devices: readonly Device[]): Device {
  const part = text.toLowerCase();
  const found = /^\d+$/.test(text)
    ? devices.slice(Number(text), Number(text) + 1)
    : devices.filter(({ name, type }) =>
      part === "cpu" ? type === "CPU" : name.toLowerCase().includes(part)
    );
  if (found.length === 1 || (part === "cpu" && found.length > 0)) return found[0];
  const list = devices.map(({ name }, i) => `${i} ${excerpt(name)}`).join(", ") || "no device";
  throw new InputError(
    `--device ${excerpt(text)} is ${
      found.length === 0 ? "no device" : "more than one device"
    } of this machine, which has ${list}`,
  );
}

/**
 * Variables of a process that is to compute on the device that `--device` names, or on the best one.
 *
 * @throws {InputError} if the name is not that of one device.
 */
export async function deviceEnvironment(named: string | null): Promise<Record<string, string>> {
  const env = named === null
    ? scheduledCard(Deno.env.get(SCHEDULER.gpus), gpuCards())
    : deviceNamed(named, (await listDevices()).devices).env;
  const note: DeviceNote = { versions: driverVersions(), gpu: named === null ? gpuFile() : null };
  return { ...env, [DEVICE_NOTE]: JSON.stringify(note) };
}
