// ONNX Runtime, as a peer of peers.ts: in WebAssembly (one thread: its threads need a browser's
// workers), on WebGPU, or native for Node.js, as the argument says (wasm, webgpu or node).
import { operand, serve } from "./serve.ts";

/** The part of ONNX Runtime that is used. */
interface Runtime {
  env: { wasm: { numThreads?: number }; webgpu?: { device: Promise<GPUDevice> | GPUDevice } };
  Tensor: TensorClass;
  InferenceSession: {
    create(model: Uint8Array, options: SessionOptions): Promise<{
      run(feeds: Record<string, Handle>): Promise<Record<string, Handle>>;
    }>;
  };
}

/** Backend and options that a model runs with. */
interface SessionOptions {
  executionProviders: string[];
  preferredOutputLocation?: "gpu-buffer";
  intraOpNumThreads?: number;
}

/** A tensor on the host or in a buffer. */
interface Handle {
  readonly data: Float32Array;
  getData(): Promise<Float32Array>;
  dispose(): void;
}

/** Makes tensors. */
interface TensorClass {
  new (type: "float32", data: Float32Array, shape: number[]): Handle;
  fromGpuBuffer(buffer: GPUBuffer, options: { dataType: "float32"; dims: number[] }): Handle;
}

const [target] = Deno.args;
const name = target === "node" ? "onnxruntime-node" : `onnxruntime-web/${target}`;
const imported = await import(name);
const ort = (imported.default ?? imported) as Runtime;
if (target === "wasm") ort.env.wasm.numThreads = 1;

/** A protobuf field: a number (wire type 0), or bytes, a text or a message (wire type 2). */
function field(number: number, value: number | string | number[]): number[] {
  if (typeof value === "number") return [number << 3, value];
  const bytes = typeof value === "string" ? [...new TextEncoder().encode(value)] : value;
  if (bytes.length > 16_383) throw new RangeError("a field is too long");
  const length = bytes.length < 128
    ? [bytes.length]
    : [bytes.length & 127 | 128, bytes.length >> 7];
  return [number << 3 | 2, ...length, ...bytes];
}

/** An ONNX model with a single Gemm, c = a b or a bᵀ, of any sizes. */
function gemm(transposeB: boolean): Uint8Array {
  // AttributeProto.type is field 20, whose tag takes two bytes; 2 says that it is a whole number.
  const type = [0xa0, 0x01, 2];
  const transB = [...field(1, "transB"), ...field(3, Number(transposeB)), ...type];
  const node = [
    ...field(1, "a"),
    ...field(1, "b"),
    ...field(2, "c"),
    ...field(4, "Gemm"),
    ...field(5, transB),
  ];
  const side = (label: string) => field(1, field(2, label));
  const value = (label: string) => {
    const shape = [...side(`${label}0`), ...side(`${label}1`)];
    const type = field(1, [...field(1, 1), ...field(2, shape)]);
    return [...field(1, label), ...field(2, type)];
  };
  const graph = [
    ...field(1, node),
    ...field(2, "gemm"),
    ...field(11, value("a")),
    ...field(11, value("b")),
    ...field(12, value("c")),
  ];
  return Uint8Array.from([...field(1, 8), ...field(7, graph), ...field(8, field(2, 13))]);
}

/** A tensor in a buffer of the device that ONNX Runtime computes on. */
function onDevice(device: GPUDevice, data: Float32Array, dims: number[]): Handle {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const buffer = device.createBuffer({ size: data.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>);
  return ort.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims });
}

await serve(async ({ m, n, k, transposeB }) => {
  const webgpu = target === "webgpu";
  const session = await ort.InferenceSession.create(gemm(transposeB), {
    executionProviders: [target === "node" ? "cpu" : target],
    ...(webgpu ? { preferredOutputLocation: "gpu-buffer" } : {}),
    ...(target === "node" ? { intraOpNumThreads: navigator.hardwareConcurrency } : {}),
  });
  const device = webgpu ? await ort.env.webgpu!.device : null;
  const tensor = (data: Float32Array, dims: number[]) =>
    device ? onDevice(device, data, dims) : new ort.Tensor("float32", data, dims);
  const a = tensor(operand(m * k, 1), [m, k]);
  const b = tensor(operand(k * n, 2), transposeB ? [n, k] : [k, n]);
  let c: Handle | undefined;
  return {
    async multiply() {
      c?.dispose();
      ({ c } = await session.run({ a, b }));
    },
    async wait() {
      await device?.queue.onSubmittedWorkDone();
    },
    result: () => c!.getData(),
  };
});
