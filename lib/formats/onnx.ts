import { excerpt, InputError } from "../errors.ts";
import { type Dtype, elementCount, ITEM_SIZE, type RawTensor } from "./raw_tensor.ts";

/** One operation of an ONNX graph. */
export interface OnnxNode {
  /** The operator, such as "MatMul". */
  readonly op: string;
  /** The node's name, a path such as "/layers.1/blocks.0/attn/qkv/MatMul". */
  readonly name: string;
  /** The names of the values it reads. */
  readonly inputs: readonly string[];
  /** The names of the values it makes. */
  readonly outputs: readonly string[];
}

/** The parts of an ONNX model that hold weights. */
export interface OnnxGraph {
  /** The operations in the file's order. */
  readonly nodes: readonly OnnxNode[];
  /** The stored tensors by name. */
  readonly initialisers: ReadonlyMap<string, RawTensor>;
  /** The tensors of the Constant nodes by the name of their output. */
  readonly constants: ReadonlyMap<string, RawTensor>;
}

/** TensorProto.DataType to our names; strings and complex numbers are no weights. */
const DTYPES: Readonly<Record<number, Dtype>> = {
  1: "F32",
  2: "U8",
  3: "I8",
  4: "U16",
  5: "I16",
  6: "I32",
  7: "I64",
  9: "BOOL",
  10: "F16",
  11: "F64",
  12: "U32",
  13: "U64",
  16: "BF16",
};

/** One protobuf field: a number, or a view on the bytes of a text, a message or a packed list. */
interface Field {
  number: number;
  value: number;
  bytes: Uint8Array;
}

/** Axes of a tensor; no operator that we know makes more than 8. */
const MAXIMUM_AXES = 64;

const NO_BYTES = new Uint8Array(0);
const UTF8 = new TextDecoder();

/** Reads the protobuf wire format, https://protobuf.dev/programming-guides/encoding. */
class Reader {
  #position = 0;

  constructor(readonly bytes: Uint8Array, readonly refuse: (reason: string) => never) {}

  get done(): boolean {
    return this.#position >= this.bytes.length;
  }

  /** A number of 7 bits a byte; above 2^53 it is not exact, which no valid length or shape reaches. */
  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      if (this.done) this.refuse("it ends within a number");
      const byte = this.bytes[this.#position++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    return this.refuse("a number in it has more than 10 bytes");
  }

  #take(length: number): Uint8Array {
    const end = this.#position + length;
    if (end > this.bytes.length) {
      this.refuse(`it ends ${end - this.bytes.length} bytes too early`);
    }
    const taken = this.bytes.subarray(this.#position, end);
    this.#position = end;
    return taken;
  }

  *fields(): Generator<Field> {
    while (!this.done) yield this.#field();
  }

  #field(): Field {
    const tag = this.varint();
    const number = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        return { number, value: this.varint(), bytes: NO_BYTES };
      case 1:
        return { number, value: NaN, bytes: this.#take(8) };
      case 2:
        return { number, value: NaN, bytes: this.#take(this.varint()) };
      case 5:
        return { number, value: NaN, bytes: this.#take(4) };
      default:
        return this.refuse(`a field in it has the unknown wire type ${tag % 8}`);
    }
  }
}

/** The tensor of a TensorProto, and its name. */
function readTensor(
  message: Reader,
): { name: string; tensor: RawTensor } {
  const { refuse } = message;
  const shape: number[] = [];
  let name = "";
  let type = 0;
  let data: Uint8Array = NO_BYTES;
  let external = false;
  for (const { number, value, bytes } of message.fields()) {
    if (number === 1 && shape.length > MAXIMUM_AXES) continue; // refused below, by the name
    if (number === 1 && !Number.isNaN(value)) shape.push(value);
    else if (number === 1) {
      const packed = new Reader(bytes, refuse);
      while (!packed.done && shape.length <= MAXIMUM_AXES) shape.push(packed.varint());
    } else if (number === 2) type = value;
    else if (number === 8) name = UTF8.decode(bytes);
    // raw_data; float_data is the same bytes when packed, as it always is in proto3.
    else if (number === 9 || (number === 4 && type === 1)) data = bytes;
    else if (number === 14) external = value === 1;
  }
  const quoted = `tensor "${excerpt(name)}"`;
  if (external) refuse(`${quoted} lies in another file`);
  const dtype = DTYPES[type];
  if (dtype === undefined) return refuse(`${quoted} has the unknown type ${type}`);
  if (shape.length > MAXIMUM_AXES) refuse(`${quoted} has more than ${MAXIMUM_AXES} axes`);
  // Also a negative length, which comes as one of 2^63 or more.
  if (!shape.every(Number.isSafeInteger)) refuse(`${quoted} has a length that is no number`);
  const expected = elementCount(shape) * ITEM_SIZE[dtype];
  if (data.length !== expected) {
    refuse(`${quoted} of shape [${shape}] has ${data.length} bytes instead of ${expected}`);
  }
  return { name, tensor: { dtype, shape, bytes: data } };
}

/** The node of a NodeProto, and the tensor of a Constant. */
function readNode(message: Reader): { node: OnnxNode; constant: RawTensor | null } {
  const inputs: string[] = [];
  const outputs: string[] = [];
  let op = "";
  let name = "";
  let constant: RawTensor | null = null;
  const attributes: Uint8Array[] = [];
  for (const { number, bytes } of message.fields()) {
    if (number === 1) inputs.push(UTF8.decode(bytes));
    else if (number === 2) outputs.push(UTF8.decode(bytes));
    else if (number === 3) name = UTF8.decode(bytes);
    else if (number === 4) op = UTF8.decode(bytes);
    else if (number === 5) attributes.push(bytes);
  }
  for (const attribute of op === "Constant" && outputs.length > 0 ? attributes : []) {
    for (const { number, bytes } of new Reader(attribute, message.refuse).fields()) {
      if (number === 5) constant = readTensor(new Reader(bytes, message.refuse)).tensor;
    }
  }
  return { node: { op, name, inputs, outputs }, constant };
}

/**
 * Reads the nodes, initialisers and Constant tensors of an ONNX model. Tensors are views on `bytes`.
 * Subgraphs are passed over.
 *
 * @param options.source The file's name, for the message.
 * @throws {InputError} saying what is wrong with the file.
 */
export function parseOnnx(bytes: Uint8Array, options: { source: string }): OnnxGraph {
  const refuse = (reason: string): never => {
    throw new InputError(
      `${options.source} is not a sound ONNX file (${reason}): get the file again`,
    );
  };
  const nodes: OnnxNode[] = [];
  const initialisers = new Map<string, RawTensor>();
  const constants = new Map<string, RawTensor>();
  let graphs = 0;
  for (const model of new Reader(bytes, refuse).fields()) {
    if (model.number !== 7) continue;
    graphs++;
    for (const field of new Reader(model.bytes, refuse).fields()) {
      const message = new Reader(field.bytes, refuse);
      if (field.number === 1) {
        const { node, constant } = readNode(message);
        nodes.push(node);
        if (constant) constants.set(node.outputs[0], constant);
      } else if (field.number === 5) {
        const { name, tensor } = readTensor(message);
        initialisers.set(name, tensor);
      }
    }
  }
  if (graphs !== 1) refuse(`it holds ${graphs} graphs instead of one`);
  return { nodes, initialisers, constants };
}
