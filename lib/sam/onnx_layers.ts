/**
 * Layers of SAM as nodes of ONNX graphs, their weights by module path. Images are [1, channels, h, w] here,
 * as convolutions of ONNX take them, tokens [..., channels].
 *
 * @module
 */
import { type OnnxGraphBuilder, Real, type Value } from "../formats/onnx_writer.ts";
import type { HostState, HostTensor } from "../nn/host_state.ts";

/** A graph under construction, and the model's weights. */
export class OnnxLayers {
  /** The graph. */
  readonly graph: OnnxGraphBuilder;
  readonly #state: HostState;
  readonly #stored = new Set<string>();

  /** Takes a model's weights by their official names. */
  constructor(graph: OnnxGraphBuilder, state: HostState) {
    this.graph = graph;
    this.#state = state;
  }

  /** A weight on the host. */
  tensor(name: string): HostTensor {
    const found = this.#state.get(name);
    if (!found) throw new Error(`the model has no ${name}`);
    return found;
  }

  /** True if the model has a weight. */
  has(name: string): boolean {
    return this.#state.has(name);
  }

  /** A weight as it stands, stored once. */
  weight(name: string): Value {
    if (this.#stored.has(name)) return name;
    this.#stored.add(name);
    return this.graph.weight(name, this.tensor(name));
  }

  /** Adds a node of one output. */
  node(...args: Parameters<OnnxGraphBuilder["node"]>): Value {
    return this.graph.node(...args);
  }

  /** The sum of two values. */
  add(a: Value, b: Value): Value {
    return this.node("Add", [a, b]);
  }

  /** A value in another shape: 0 keeps a length, -1 is what remains. */
  reshape(x: Value, ...shape: number[]): Value {
    return this.node("Reshape", [x, this.graph.integers(...shape)]);
  }

  /** A value with its axes in another order. */
  transpose(x: Value, ...perm: number[]): Value {
    return this.node("Transpose", [x], { perm });
  }

  /** x W' + b of a Linear at a path, along the last axis. */
  linear(x: Value, path: string): Value {
    const { shape: [rows, columns], data } = this.tensor(`${path}.weight`);
    const name = `${path}.weight`;
    if (!this.#stored.has(name)) {
      const turned = new Float32Array(data.length);
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          turned[column * rows + row] = data[row * columns + column];
        }
      }
      this.graph.weight(name, { shape: [columns, rows], data: turned });
      this.#stored.add(name);
    }
    const y = this.node("MatMul", [x, name]);
    return this.has(`${path}.bias`) ? this.add(y, this.weight(`${path}.bias`)) : y;
  }

  /** A convolution at a path, of an image. */
  conv(
    x: Value,
    path: string,
    { stride = 1, padding = 0, groups = 1, transposed = false } = {},
  ): Value {
    const { shape } = this.tensor(`${path}.weight`);
    const inputs = [x, this.weight(`${path}.weight`)];
    if (this.has(`${path}.bias`)) inputs.push(this.weight(`${path}.bias`));
    return this.node(transposed ? "ConvTranspose" : "Conv", inputs, {
      kernel_shape: shape.slice(2),
      strides: [stride, stride],
      pads: [padding, padding, padding, padding],
      group: groups,
    });
  }

  /** A LayerNorm at a path, along the last axis. */
  layerNorm(x: Value, path: string, eps = 1e-5): Value {
    const parts = [x, this.weight(`${path}.weight`), this.weight(`${path}.bias`)];
    return this.node("LayerNormalization", parts, { axis: -1, epsilon: new Real(eps) });
  }

  /** A LayerNorm of an image's channels. */
  layerNorm2d(x: Value, path: string): Value {
    return this.toImage(this.layerNorm(this.toTokens(x), path, 1e-6));
  }

  /** [1, channels, h, w] -> [1, h, w, channels] */
  toTokens(x: Value): Value {
    return this.transpose(x, 0, 2, 3, 1);
  }

  /** [1, h, w, channels] -> [1, channels, h, w] */
  toImage(x: Value): Value {
    return this.transpose(x, 0, 3, 1, 2);
  }

  /** The exact GELU: x (1 + erf(x / sqrt 2)) / 2. */
  gelu(x: Value): Value {
    const erf = this.node("Erf", [this.node("Mul", [x, this.graph.real(Math.SQRT1_2)])]);
    const half = this.node("Mul", [x, this.graph.real(0.5)]);
    return this.node("Mul", [half, this.add(erf, this.graph.real(1))]);
  }

  /** Attention of heads: q, k and v [B, heads, N, d] -> [B, N, heads d]; `bias` is added to the logits. */
  attention(
    q: Value,
    k: Value,
    v: Value,
    { depth, bias = null }: { depth: number; bias?: ((q: Value, logits: Value) => Value) | null },
  ): Value {
    const scaled = this.node("Mul", [q, this.graph.real(1 / Math.sqrt(depth))]);
    let logits = this.node("MatMul", [scaled, this.transpose(k, 0, 1, 3, 2)]);
    if (bias) logits = bias(q, logits);
    const mixed = this.node("MatMul", [this.node("Softmax", [logits], { axis: -1 }), v]);
    return this.reshape(this.transpose(mixed, 0, 2, 1, 3), 0, 0, -1);
  }

  /** Runs `attend` [windows, size², channels] -> the same on the windows of tokens [1, h, w, channels]. */
  inWindows(
    x: Value,
    { grid, size, channels }: { grid: number; size: number; channels: number },
    { before = (x) => x, attend }: {
      /** Applied to the padded tokens. */
      before?: (x: Value) => Value;
      attend: (x: Value) => Value;
    },
  ): Value {
    const count = Math.ceil(grid / size);
    const padded = count * size;
    const range = (...values: number[]) => this.graph.integers(...values);
    const pad = () => this.node("Pad", [x, range(0, 0, 0, 0, 0, padded - grid, padded - grid, 0)]);
    let y = before(padded === grid ? x : pad());
    y = this.transpose(this.reshape(y, count, size, count, size, channels), 0, 2, 1, 3, 4);
    y = attend(this.reshape(y, count * count, size * size, channels));
    y = this.transpose(this.reshape(y, count, count, size, size, channels), 0, 2, 1, 3, 4);
    y = this.reshape(y, 1, padded, padded, channels);
    if (padded === grid) return y;
    return this.node("Slice", [y, range(0, 0), range(grid, grid), range(1, 2)]);
  }

  /** SAM's neck at a path: two convolutions, each with a LayerNorm. */
  neck(x: Value, path: string): Value {
    const first = this.layerNorm2d(this.conv(x, `${path}.0`), `${path}.1`);
    return this.layerNorm2d(this.conv(first, `${path}.2`, { padding: 1 }), `${path}.3`);
  }

  /** The perceptron of SAM's heads at a path: Linears with ReLU between them. */
  mlp(x: Value, path: string): Value {
    for (let i = 0; this.has(`${path}.layers.${i}.weight`); i++) {
      if (i > 0) x = this.node("Relu", [x]);
      x = this.linear(x, `${path}.layers.${i}`);
    }
    return x;
  }
}
