import { part } from "../part.ts";
import type { Device, DeviceList } from "../../../lib/study/devices.ts";

/** The devices of this machine. */
export const devices = part<DeviceList>({
  name: "devices",
  title: "Devices",
  needs: { GPU: 0, CPU: 0 },
  run: ({ devices }) => Promise.resolve(devices),
  blocks: ({ devices, chosen }) => [{
    kind: "table",
    caption: "What WebGPU (Deno's, wgpu) can open here; the first column marks what was measured.",
    header: ["Device", "Type", "Driver", "Largest buffer, MiB", "Binding, MiB", "Features"],
    words: 3,
    rows: devices.map((device: Device, i) => [
      `${i === chosen ? "▸ " : ""}${device.name}`,
      device.type,
      device.version ?? "–",
      mebibytes(device.maxBufferSize),
      mebibytes(device.maxStorageBufferBindingSize),
      device.features.join(", ") || "none",
    ]),
  }],
});

const mebibytes = (bytes: number) => String(Math.round(bytes / 2 ** 20));
