// ./run devices: lists what WebGPU can compute on, and says which of it a run takes.
import { visible } from "../lib/errors.ts";
import { noDriver } from "../lib/study/device.ts";
import { listDevices } from "../lib/study/devices.ts";
import { runCommand } from "../lib/study/main.ts";
import { commands } from "./commands.ts";

const mebibytes = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;

await runCommand(commands.devices, async ({ values: { json } }) => {
  const { devices, chosen, unused } = await listDevices();
  if (json) {
    console.log(JSON.stringify({ devices, chosen, unused }, null, 2));
    return;
  }
  for (const [i, device] of devices.entries()) {
    const { name, type, version, features, maxBufferSize, maxStorageBufferBindingSize } = device;
    console.log(visible(`${i} ${name} (${type})${i === chosen ? ", which a run takes" : ""}`));
    console.log(visible(`  driver   ${version ?? "does not tell its version"}`));
    console.log(
      `  memory   buffers up to ${mebibytes(maxBufferSize)}, bindings up to ${
        mebibytes(maxStorageBufferBindingSize)
      }`,
    );
    console.log(`  features ${features.join(", ") || "none"}`);
  }
  if (devices.length === 0) {
    console.log("no device: install a Vulkan driver (Debian's mesa-vulkan-drivers for the CPU)");
  } else if (unused !== null) {
    console.log(`A run is refused: ${noDriver(unused, devices[0])}.`);
  } else {
    console.log(
      "WebGPU prefers a GPU to a CPU driver; --device N or --device NAME takes another device. Equal " +
        "cards behind one driver are not told apart.",
    );
  }
});
