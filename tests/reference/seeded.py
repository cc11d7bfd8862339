"""Numbers that look random and that Python and TypeScript (tests/sam/seeded.ts) make alike.

Element i of the tensor of a name is a hash of both, so that weights of any size need no file: 24 bits of
it become a float32 in [-1, 1), times an amplitude that keeps activations in their usual range.
"""
import json
import math
import struct

import numpy as np
import torch

SAMPLES = 997


def hashed(name, count):
    """float64 in [-1, 1), exact in float32: FNV-1a of the name, mixed with the index by PCG's output."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x01000193) & 0xFFFFFFFF
    state = np.arange(count, dtype=np.uint32) + np.uint32(seed)
    state = state * np.uint32(747796405) + np.uint32(2891336453)
    word = ((state >> ((state >> np.uint32(28)) + np.uint32(4))) ^ state) * np.uint32(277803737)
    word = (word >> np.uint32(22)) ^ word
    return (word >> np.uint32(8)).astype(np.float64) / 2**23 - 1


def amplitude(name, shape):
    """Mean and amplitude of a weight."""
    if len(shape) == 1:
        return (1.0, 0.2) if name.endswith(".weight") else (0.0, 0.2)
    if "rel_pos" in name:
        return 0.0, 0.2
    if name.endswith("gaussian_matrix"):
        return 0.0, 1.7
    if name.endswith("pos_embed") or (len(shape) == 2 and ("embed" in name or "token." in name)) \
            or "tokens" in name:
        return 0.0, 1.0
    return 0.0, math.sqrt(3 / math.prod(shape[1:]))


def weight(name, shape, scale=1.0):
    """A weight in float64, rounded to float32."""
    mean, spread = amplitude(name, shape)
    values = (mean + scale * spread * hashed(name, math.prod(shape))).astype(np.float32)
    return torch.from_numpy(values.astype(np.float64).reshape(shape))


def fill(module, prefix=""):
    """Gives every weight and buffer of a module its value by its name."""
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            tensor.copy_(weight(prefix + name, tuple(tensor.shape)))
    return module


def wave(batch, side):
    """Inputs [B, 3, S, S]: shading, a bright spot, fine texture; rounded to float32."""
    b, c, y, x = np.meshgrid(
        np.arange(batch), np.arange(3), np.arange(side), np.arange(side), indexing="ij")
    u, v = x / side, y / side
    value = (np.sin((7 + c) * u + 3 * np.sin(5 * v + b)) * np.cos(9 * v - 2 * u)
             + 2 * np.exp(-30 * ((u - 0.6) ** 2 + (v - 0.4) ** 2))
             + 0.3 * np.sin(61 * u) * np.sin(53 * v))
    return torch.from_numpy(value.astype(np.float32).astype(np.float64))


def disc(batch, height, width):
    """Targets [B, H, W]: an ellipse a little right of the middle."""
    b, y, x = np.meshgrid(np.arange(batch), np.arange(height), np.arange(width), indexing="ij")
    u, v = (x + 0.5) / width, (y + 0.5) / height
    inside = ((u - 0.6) / (0.2 + 0.05 * b)) ** 2 + ((v - 0.4) / 0.25) ** 2 < 1
    return torch.from_numpy(inside.astype(np.float64))


def sampled(tensor, samples=SAMPLES):
    """At most so many elements, evenly spaced from the first on."""
    flat = tensor.detach().flatten()
    return flat[::max(1, -(-flat.numel() // samples))]


def write_safetensors(path, arrays):
    header, blobs, offset = {}, [], 0
    for name in sorted(arrays):
        blob = np.asarray(arrays[name], dtype="<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(np.shape(arrays[name])),
            "data_offsets": [offset, offset + len(blob)],
        }
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
