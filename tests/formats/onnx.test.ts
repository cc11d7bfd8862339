import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../lib/errors.ts";
import { parseOnnx } from "../../lib/formats/onnx.ts";
import { toFloat32 } from "../../lib/formats/raw_tensor.ts";

/** A protobuf writer, so that the fixtures can be read here. */
function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}
const number = (field: number, value: number) => [...varint(field * 8), ...varint(value)];
const bytes = (field: number, value: Iterable<number>) => {
  const list = [...value];
  return [...varint(field * 8 + 2), ...varint(list.length), ...list];
};
const text = (field: number, value: string) => bytes(field, new TextEncoder().encode(value));
const raw = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

const tensor = (name: string, dims: number[], data: number[]) => [
  ...dims.flatMap((length) => number(1, length)),
  ...number(2, 1),
  ...text(8, name),
  ...data,
];
const node = (op: string, inputs: string[], output: string, attributes: number[] = []) => [
  ...inputs.flatMap((input) => text(1, input)),
  ...text(2, output),
  ...text(3, `/layer/${op}`),
  ...text(4, op),
  ...attributes,
];
const model = (...graph: number[][]) =>
  Uint8Array.from([...number(1, 8), ...bytes(7, graph.flat())]);
const parse = (file: Uint8Array) => parseOnnx(file, { source: "x.onnx" });

const sound = () =>
  model(
    bytes(1, node("MatMul", ["x", "w"], "y")),
    bytes(
      1,
      node(
        "Constant",
        [],
        "c",
        bytes(5, [...text(1, "value"), ...bytes(5, tensor("", [1], bytes(9, raw(7))))]),
      ),
    ),
    bytes(5, tensor("w", [2, 2], bytes(9, raw(1, 2, 3, 4)))),
    bytes(5, tensor("v", [], bytes(4, raw(-1)))),
    // dims packed, as proto3 may write them
    bytes(5, [...bytes(1, [2, 1]), ...number(2, 1), ...text(8, "p"), ...bytes(9, raw(5, 6))]),
  );

Deno.test("nodes, initialisers and constants are read with their names and values", () => {
  const { nodes, initialisers, constants } = parse(sound());
  assertEquals(nodes, [
    { op: "MatMul", name: "/layer/MatMul", inputs: ["x", "w"], outputs: ["y"] },
    { op: "Constant", name: "/layer/Constant", inputs: [], outputs: ["c"] },
  ]);
  assertEquals([...initialisers.keys()], ["w", "v", "p"]);
  assertEquals(initialisers.get("w")!.shape, [2, 2]);
  assertEquals(toFloat32(initialisers.get("w")!), Float32Array.of(1, 2, 3, 4));
  assertEquals(toFloat32(initialisers.get("v")!), Float32Array.of(-1));
  assertEquals(initialisers.get("p")!.shape, [2, 1]);
  assertEquals(toFloat32(constants.get("c")!), Float32Array.of(7));
});

Deno.test("every truncation of a sound model is refused", () => {
  const file = sound();
  // Without its last field, the graph, two bytes still make a sound message that holds no graph.
  for (let length = 0; length < file.length; length++) {
    assertThrows(() => parse(file.subarray(0, length)), InputError, "x.onnx is not a sound ONNX");
  }
});

const HOSTILE: Array<{ what: string; file: Uint8Array; says: string }> = [
  { what: "text", file: new TextEncoder().encode("not a model"), says: "" },
  {
    what: "a number that never ends",
    file: new Uint8Array(32).fill(255),
    says: "more than 10 bytes",
  },
  { what: "an unknown wire type", file: Uint8Array.of(0x0b, 0), says: "wire type 3" },
  {
    what: "a length of 2^63",
    file: Uint8Array.from([0x3a, ...new Uint8Array(9).fill(0x80), 1]),
    says: "too early",
  },
  { what: "two graphs", file: Uint8Array.from([...sound(), ...sound()]), says: "2 graphs" },
  {
    what: "a type that is no number",
    file: model(bytes(5, [...number(1, 1), ...number(2, 8), ...text(8, "w")])),
    says: '"w" has the unknown type 8',
  },
  {
    what: "a shape that its data do not fill",
    file: model(bytes(5, tensor("w", [3], bytes(9, raw(1, 2))))),
    says: '"w" of shape [3] has 8 bytes instead of 12',
  },
  {
    what: "a shape of 2^60 elements",
    file: model(bytes(5, tensor("w", [2 ** 30, 2 ** 30], bytes(9, raw(1))))),
    says: '"w"',
  },
  {
    what: "a name that would fill the screen",
    file: model(bytes(5, tensor(`w\n\x1b[2J${"x".repeat(100_000)}`, [1], number(14, 1)))),
    says: '"w\ufffd\ufffd[2Jxxx',
  },
  {
    what: "a shape of a thousand axes",
    file: model(bytes(5, tensor("w", Array(1000).fill(1), bytes(9, raw(1))))),
    says: '"w" has more than 64 axes',
  },
  {
    what: "a packed shape of a thousand axes",
    file: model(
      bytes(5, [...bytes(1, Array(1000).fill(1)), ...tensor("w", [], bytes(9, raw(1)))]),
    ),
    says: '"w" has more than 64 axes',
  },
  {
    what: "an axis of length 2^60 next to one of length 0",
    file: model(bytes(5, tensor("w", [2 ** 60, 0], bytes(9, [])))),
    says: '"w" has a length that is no number',
  },
  {
    what: "data in another file",
    file: model(bytes(5, tensor("w", [1], number(14, 1)))),
    says: '"w" lies in another file',
  },
];

for (const { what, file, says } of HOSTILE) {
  Deno.test(`ONNX reading refuses ${what} in one sentence`, () => {
    const error = assertThrows(() => parse(file), InputError, says);
    assert(error.message.length < 500, error.message);
    assert(/^x\.onnx is not a sound ONNX file \(.+\): get the file again$/.test(error.message));
  });
}
