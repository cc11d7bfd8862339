// Prints the adapters that WebGPU shows this process as JSON, for devices.ts.
import { adapterInfo } from "../gpu/gpu_adapter.ts";

const found = [];
for (const powerPreference of ["high-performance", "low-power"] as const) {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference });
  if (!adapter) continue;
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  found.push({ ...adapterInfo(adapter), maxBufferSize, maxStorageBufferBindingSize });
}
console.log(JSON.stringify(found));
