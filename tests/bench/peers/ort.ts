// ONNX Runtime's WebAssembly build, one thread (its threads need a browser's workers), as a peer of peers.ts.
import { operand, serve } from "./serve.ts";

/** The part of ONNX Runtime that is used. */
interface Runtime {
  env: { wasm: { numThreads: number } };
  Tensor: new (type: "float32", data: Float32Array, shape: number[]) => unknown;
  InferenceSession: {
    create(model: Uint8Array, options: { executionProviders: string[] }): Promise<{
      run(feeds: Record<string, unknown>): Promise<Record<string, { data: Float32Array }>>;
    }>;
  };
}

const name = "onnxruntime-web/wasm";
const ort = await import(name) as Runtime;
ort.env.wasm.numThreads = 1;

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

await serve(async ({ m, n, k, transposeB }) => {
  const session = await ort.InferenceSession.create(gemm(transposeB), {
    executionProviders: ["wasm"],
  });
  const a = new ort.Tensor("float32", operand(m * k, 1), [m, k]);
  const b = new ort.Tensor("float32", operand(k * n, 2), transposeB ? [n, k] : [k, n]);
  let c = new Float32Array(0);
  return {
    async multiply() {
      c = (await session.run({ a, b })).c.data as Float32Array<ArrayBuffer>;
    },
    wait: () => Promise.resolve(),
    result: () => Promise.resolve(c),
  };
});
