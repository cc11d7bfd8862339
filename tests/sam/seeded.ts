import type { HostState, HostTensor } from "../../lib/nn/host_state.ts";
import type { Module } from "../../lib/nn/module.ts";
import { type Shape, sizeOf } from "../../lib/tensor/shape.ts";

/** Elements that the fixtures hold of a large tensor, unless they say otherwise. */
const SAMPLES = 997;

/**
 * Numbers in [-1, 1) that look random: a hash of the name and of each index, 24 bits of it. The scripts
 * under tests/reference (seeded.py) make the same.
 */
export function hashed(name: string, count: number): Float64Array {
  let seed = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) seed = Math.imul(seed ^ byte, 0x01000193);
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const state = (Math.imul((i + seed) >>> 0, 747796405) + 2891336453) >>> 0;
    let word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0;
    word = ((word >>> 22) ^ word) >>> 0;
    values[i] = (word >>> 8) / 2 ** 23 - 1;
  }
  return values;
}

/** Mean and amplitude of a weight, such that activations stay in their usual range. */
function amplitude(name: string, shape: Shape): readonly [mean: number, spread: number] {
  if (shape.length === 1) return name.endsWith(".weight") ? [1, 0.2] : [0, 0.2];
  if (name.includes("rel_pos")) return [0, 0.2];
  if (name.endsWith("gaussian_matrix")) return [0, 1.7];
  const table = shape.length === 2 && (name.includes("embed") || name.includes("token."));
  if (table || name.endsWith("pos_embed") || name.includes("tokens")) return [0, 1];
  return [0, Math.sqrt(3 / sizeOf(shape.slice(1)))];
}

/** The weight of a name. */
export function seededWeight(name: string, shape: Shape, scale = 1): HostTensor {
  const [mean, spread] = amplitude(name, shape);
  const values = hashed(name, sizeOf(shape));
  return { shape, data: Float32Array.from(values, (value) => mean + scale * spread * value) };
}

/** Weights for every tensor of a module. */
export function seededState(module: Module, prefix = ""): HostState {
  return new Map(
    [...module.namedParameters()].map((
      [name, { shape }],
    ) => [name, seededWeight(prefix + name, shape)]),
  );
}

/** At most so many elements, evenly spaced from the first on. */
export function sampled(data: Float32Array, samples = SAMPLES): Float32Array {
  const step = Math.max(1, Math.ceil(data.length / samples));
  return data.filter((_, i) => i % step === 0);
}

/** Inputs [B, S, S, 3]: shading, a bright spot, fine texture. */
export function wave(batch: number, side: number): Float32Array {
  const data = new Float32Array(batch * side * side * 3);
  let i = 0;
  for (let b = 0; b < batch; b++) {
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        const u = x / side;
        const v = y / side;
        const [phase, shade] = [3 * Math.sin(5 * v + b), Math.cos(9 * v - 2 * u)];
        const spot = 2 * Math.exp(-30 * ((u - 0.6) ** 2 + (v - 0.4) ** 2));
        const texture = 0.3 * Math.sin(61 * u) * Math.sin(53 * v);
        for (let c = 0; c < 3; c++) {
          data[i++] = Math.sin((7 + c) * u + phase) * shade + spot + texture;
        }
      }
    }
  }
  return data;
}

/** Targets [B, H, W]: an ellipse a little right of the middle. */
export function disc(batch: number, height: number, width: number): Float32Array {
  const data = new Float32Array(batch * height * width);
  let i = 0;
  for (let b = 0; b < batch; b++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const u = ((x + 0.5) / width - 0.6) / (0.2 + 0.05 * b);
        const v = ((y + 0.5) / height - 0.4) / 0.25;
        data[i++] = Number(u * u + v * v < 1);
      }
    }
  }
  return data;
}
