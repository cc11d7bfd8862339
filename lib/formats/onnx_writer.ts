/**
 * ONNX graphs, node by node, and their bytes.
 *
 * @module
 */
import proto from "onnx-proto";

const { onnx } = proto;

/** Version of ONNX's operators that the graphs ask for: the first whose Resize filters as it shrinks. */
const OPSET = 18;

/** Version of the file format that came with them. */
const IR_VERSION = 8;

/** Name of a value of a graph. */
export type Value = string;

/** A length of an axis, or the name of one that is known only when the graph runs. */
export type Axis = number | string;

/** Values of an attribute of a node: an integer, a text, or a list of integers. */
export type Attribute = number | string | readonly number[];

/** An attribute that is a real number, which JavaScript does not tell from an integer. */
export class Real {
  /** Wraps the number. */
  constructor(readonly value: number) {}
}

/**
 * A graph under construction. Values are in float32, but for shapes and places in int64.
 */
export class OnnxGraphBuilder {
  readonly #name: string;
  readonly #nodes: proto.onnx.INodeProto[] = [];
  readonly #initialisers: proto.onnx.ITensorProto[] = [];
  readonly #inputs: proto.onnx.IValueInfoProto[] = [];
  readonly #outputs: proto.onnx.IValueInfoProto[] = [];
  readonly #integers = new Map<string, Value>();
  #values = 0;

  /** Begins an empty graph. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Declares an input in float32. */
  input(name: string, shape: readonly Axis[]): Value {
    this.#inputs.push(describe(name, shape));
    return name;
  }

  /** Declares a value as an output, under a name of its own. */
  output(value: Value, name: string, shape: readonly Axis[]): void {
    this.#nodes.push({ opType: "Identity", input: [value], output: [name] });
    this.#outputs.push(describe(name, shape));
  }

  /** Stores a tensor in float32. */
  weight(name: string, { shape, data }: { shape: readonly number[]; data: Float32Array }): Value {
    this.#initialisers.push({
      name,
      dims: [...shape],
      dataType: onnx.TensorProto.DataType.FLOAT,
      rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice(),
    });
    return name;
  }

  /** A constant in float32: a number, or a list of them. */
  real(values: number | readonly number[]): Value {
    const list = [values].flat();
    const shape = typeof values === "number" ? [] : [list.length];
    return this.weight(this.#next("real"), { shape, data: Float32Array.from(list) });
  }

  /** A constant list of int64; equal ones are stored once. */
  integers(...values: number[]): Value {
    const key = values.join(",");
    let name = this.#integers.get(key);
    if (name === undefined) {
      name = this.#next("integers");
      this.#integers.set(key, name);
      this.#initialisers.push({
        name,
        dims: [values.length],
        dataType: onnx.TensorProto.DataType.INT64,
        rawData: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
      });
    }
    return name;
  }

  /** Adds a node of one output. */
  node(
    op: string,
    inputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute | Real>> = {},
  ): Value {
    return this.nodes(op, inputs, { attributes, outputs: 1 })[0];
  }

  /** Adds a node of several outputs. */
  nodes(
    op: string,
    inputs: readonly Value[],
    { attributes = {}, outputs }: {
      attributes?: Readonly<Record<string, Attribute | Real>>;
      outputs: number;
    },
  ): Value[] {
    const names = Array.from({ length: outputs }, () => this.#next(op.toLowerCase()));
    this.#nodes.push({
      opType: op,
      name: names[0],
      input: [...inputs],
      output: names,
      attribute: Object.entries(attributes).map(([name, value]) => attributeOf(name, value)),
    });
    return names;
  }

  /** The bytes of a model with this graph. */
  encode(producer: { name: string; version: string }): Uint8Array {
    return onnx.ModelProto.encode({
      irVersion: IR_VERSION,
      producerName: producer.name,
      producerVersion: producer.version,
      opsetImport: [{ domain: "", version: OPSET }],
      graph: {
        name: this.#name,
        node: this.#nodes,
        initializer: this.#initialisers,
        input: this.#inputs,
        output: this.#outputs,
      },
    }).finish();
  }

  #next(kind: string): Value {
    return `${kind}_${this.#values++}`;
  }
}

/** Name, type and shape of an input or output. */
function describe(name: string, shape: readonly Axis[]): proto.onnx.IValueInfoProto {
  const dim = shape.map((axis) =>
    typeof axis === "number" ? { dimValue: axis } : { dimParam: axis }
  );
  const elemType = onnx.TensorProto.DataType.FLOAT;
  return { name, type: { tensorType: { elemType, shape: { dim } } } };
}

function attributeOf(name: string, value: Attribute | Real): proto.onnx.IAttributeProto {
  const { AttributeType: type } = onnx.AttributeProto;
  if (value instanceof Real) return { name, type: type.FLOAT, f: value.value };
  if (typeof value === "number") return { name, type: type.INT, i: value };
  if (typeof value === "string") {
    return { name, type: type.STRING, s: new TextEncoder().encode(value) };
  }
  return { name, type: type.INTS, ints: [...value] };
}
