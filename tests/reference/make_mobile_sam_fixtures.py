"""Writes tests/sam/fixtures/mobile_sam.safetensors: what PyTorch, in float64, makes of MobileSAM.

Usage: python make_mobile_sam_fixtures.py WEIGHTS OUT
WEIGHTS is a safetensors file of the model's 327 tensors under their official names, such as
`writeTensors(path, await mobileSamState())` of tests/ writes. Needs torch and numpy.

Inputs, targets and adapters are formulas (seeded.py and tests/sam/seeded.ts), so that the
file holds results only: samples of the embedding, the logits and the gradients, and the losses of a
few AdamW steps.
"""
import json
import math
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

from seeded import disc, sampled, wave, write_safetensors

torch.set_default_dtype(torch.float64)
torch.set_num_threads(2)

HEADS = {1: 4, 2: 5, 3: 10}
WINDOWS = {1: 7, 2: 14, 3: 7}
DEPTHS = {1: 2, 2: 6, 3: 2}


def read_safetensors(path):
    with open(path, "rb") as file:
        raw = file.read()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(raw[begin:end], dtype="<f4").reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.astype(np.float64))
    return tensors


def scatter(shape, seed, amplitude):
    """Adapter weights that look random."""
    i = np.arange(math.prod(shape))
    values = amplitude * np.sin(12.9898 * (i + 1) + seed)
    return torch.from_numpy(values.astype(np.float32).astype(np.float64).reshape(shape))


class MobileSam:
    """TinyViT-5M and SAM's prompt encoder and mask decoder over a flat dict of weights."""

    def __init__(self, weights, adapters=None, scaling=1.0):
        self.weights = weights
        self.adapters = adapters or {}
        self.scaling = scaling

    def get(self, name):
        return self.weights[name]

    def linear(self, x, name):
        y = x @ self.get(name + ".weight").T + self.get(name + ".bias")
        if name in self.adapters:
            a, b = self.adapters[name]
            y = y + self.scaling * (x @ a.T @ b.T)
        return y

    def conv(self, x, name, stride=1, padding=0, depthwise=False):
        weight = self.get(name + ".weight")
        bias = self.weights.get(name + ".bias")
        groups = weight.shape[0] if depthwise else 1
        return F.conv2d(x, weight, bias, stride, padding, groups=groups)

    def norm(self, x, name, eps=1e-5):
        weight, bias = self.get(name + ".weight"), self.get(name + ".bias")
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def norm2d(self, x, name):
        return self.norm(x.movedim(1, -1), name, 1e-6).movedim(-1, 1)

    def bottleneck(self, x, name, stride=1):
        x = F.gelu(self.conv(x, name + ".conv1"))
        x = F.gelu(self.conv(x, name + ".conv2", stride, 1, depthwise=True))
        return self.conv(x, name + ".conv3")

    def window_attention(self, x, name, heads, window):
        batch, height, width, dim = x.shape
        down, right = -height % window, -width % window
        x = F.pad(x, (0, 0, 0, right, 0, down))
        rows, columns = (height + down) // window, (width + right) // window
        x = x.reshape(batch, rows, window, columns, window, dim).transpose(2, 3)
        x = self.norm(x.reshape(-1, window * window, dim), name + ".norm")
        qkv = self.linear(x, name + ".qkv").unflatten(-1, (heads, 3, 32))
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        bias = self.get(name + ".attention_bias_full")
        weights = torch.softmax(q @ k.mT / math.sqrt(32) + bias, -1)
        x = self.linear((weights @ v).transpose(1, 2).flatten(2), name + ".proj")
        x = x.reshape(batch, rows, columns, window, window, dim).transpose(2, 3)
        return x.reshape(batch, height + down, width + right, dim)[:, :height, :width]

    def encode(self, x):
        root = "image_encoder."
        x = F.gelu(self.conv(x, root + "patch_embed.seq.0", 2, 1))
        x = self.conv(x, root + "patch_embed.seq.2", 2, 1)
        for block in range(2):
            x = F.gelu(x + self.bottleneck(x, root + f"layers.0.blocks.{block}"))
        x = self.bottleneck(x, root + "layers.0.downsample", 2)
        for layer, depth in DEPTHS.items():
            for block in range(depth):
                name = root + f"layers.{layer}.blocks.{block}"
                x = x.movedim(1, -1)
                x = x + self.window_attention(x, name + ".attn", HEADS[layer], WINDOWS[layer])
                x = self.conv(x.movedim(-1, 1), name + ".local_conv", 1, 1, depthwise=True)
                x = x.movedim(1, -1)
                hidden = F.gelu(self.linear(self.norm(x, name + ".mlp.norm"), name + ".mlp.fc1"))
                x = (x + self.linear(hidden, name + ".mlp.fc2")).movedim(-1, 1)
            if layer < 3:
                x = self.bottleneck(x, root + f"layers.{layer}.downsample", 2 if layer == 1 else 1)
        x = self.norm2d(self.conv(x, root + "neck.0"), root + "neck.1")
        return self.norm2d(self.conv(x, root + "neck.2", 1, 1), root + "neck.3")

    def positions(self, coordinates):
        gaussian = self.get("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix")
        angles = 2 * math.pi * ((2 * coordinates - 1) @ gaussian)
        return torch.cat([angles.sin(), angles.cos()], -1)

    def attention(self, q, k, v, name):
        def heads(x):
            return x.unflatten(-1, (8, -1)).transpose(1, 2)
        q = heads(self.linear(q, name + ".q_proj"))
        k = heads(self.linear(k, name + ".k_proj"))
        v = heads(self.linear(v, name + ".v_proj"))
        mixed = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v
        return self.linear(mixed.transpose(1, 2).flatten(2), name + ".out_proj")

    def head(self, x, name):
        for i in range(3):
            x = self.linear(x, f"{name}.layers.{i}")
            if i < 2:
                x = F.relu(x)
        return x

    def decode(self, embedding, boxes, mask=None):
        """Logits [B, 4, 4g, 4g] and IoU [B, 4] from boxes [B, 4] in input pixels."""
        prompts, root = "prompt_encoder.", "mask_decoder."
        batch, dim, grid, _ = embedding.shape
        corners = self.positions((boxes.reshape(batch, 2, 2) + 0.5) / (16 * grid))
        corners = corners + torch.cat(
            [self.get(prompts + f"point_embeddings.{i}.weight") for i in (2, 3)])
        centres = (torch.arange(grid) + 0.5) / grid
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        image_pe = self.positions(torch.stack([x, y], -1).reshape(-1, 2))
        if mask is None:
            dense = self.get(prompts + "no_mask_embed.weight").reshape(1, dim, 1, 1)
        else:
            down = prompts + "mask_downscaling."
            dense = F.gelu(self.norm2d(self.conv(mask, down + "0", 2), down + "1"))
            dense = F.gelu(self.norm2d(self.conv(dense, down + "3", 2), down + "4"))
            dense = self.conv(dense, down + "6")
        own = torch.cat([self.get(root + "iou_token.weight"), self.get(root + "mask_tokens.weight")])
        tokens = torch.cat([own.expand(batch, -1, -1), corners], 1)
        queries, keys = tokens, (embedding + dense).flatten(2).mT
        for i in range(2):
            name = root + f"transformer.layers.{i}."
            if i == 0:
                queries = self.attention(queries, queries, queries, name + "self_attn")
            else:
                q = queries + tokens
                queries = queries + self.attention(q, q, queries, name + "self_attn")
            queries = self.norm(queries, name + "norm1")
            queries = queries + self.attention(
                queries + tokens, keys + image_pe, keys, name + "cross_attn_token_to_image")
            queries = self.norm(queries, name + "norm2")
            hidden = F.relu(self.linear(queries, name + "mlp.lin1"))
            queries = self.norm(queries + self.linear(hidden, name + "mlp.lin2"), name + "norm3")
            keys = keys + self.attention(
                keys + image_pe, queries + tokens, queries, name + "cross_attn_image_to_token")
            keys = self.norm(keys, name + "norm4")
        name = root + "transformer."
        queries = queries + self.attention(
            queries + tokens, keys + image_pe, keys, name + "final_attn_token_to_image")
        queries = self.norm(queries, name + "norm_final_attn")

        def upscale(x, name):
            return F.conv_transpose2d(x, self.get(name + ".weight"), self.get(name + ".bias"), 2)
        image = upscale(keys.mT.reshape(batch, dim, grid, grid), root + "output_upscaling.0")
        image = F.gelu(self.norm2d(image, root + "output_upscaling.1"))
        image = F.gelu(upscale(image, root + "output_upscaling.3"))
        filters = torch.stack([
            self.head(queries[:, 1 + i], root + f"output_hypernetworks_mlps.{i}")
            for i in range(4)
        ], 1)
        logits = (filters @ image.flatten(2)).unflatten(-1, (4 * grid, 4 * grid))
        return logits, self.head(queries[:, 0], root + "iou_prediction_head")


def objective(model, pixels, boxes, target):
    """Dice + binary cross-entropy on the single mask, on the targets' own grid."""
    _, height, width = target.shape
    side = pixels.shape[-1]
    longest = max(height, width)
    logits, _ = model.decode(model.encode(pixels), boxes)
    logits = F.interpolate(logits[:, :1], (side, side), mode="bilinear", align_corners=False)
    logits = logits[:, :, :side * height // longest, :side * width // longest]
    logits = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)[:, 0]
    p = logits.sigmoid()
    both, total = (p * target).sum((1, 2)), p.sum((1, 2)) + target.sum((1, 2))
    dice = (2 * both + 1) / (total + 1)
    return F.binary_cross_entropy_with_logits(logits, target) + (1 - dice).mean()


def adapters(rank, amplitude):
    """A and B of every qkv of the encoder."""
    made = {}
    for layer, dim in ((1, 128), (2, 160), (3, 320)):
        for block in range(DEPTHS[layer]):
            seed = 10 * layer + block
            made[f"image_encoder.layers.{layer}.blocks.{block}.attn.qkv"] = (
                scatter((rank, dim), seed, 1 / math.sqrt(dim)),
                scatter((3 * dim, rank), seed + 0.5, amplitude),
            )
    return made


def main(weights_path, out_path):
    weights = read_safetensors(weights_path)
    out = {}

    model = MobileSam(weights)
    for side in (256, 320):
        with torch.no_grad():
            embedding = model.encode(wave(1, side))
            box = torch.tensor([[0.4, 0.15, 0.8, 0.65]]) * side
            logits, iou = model.decode(embedding, box)
            again, again_iou = model.decode(embedding, box, logits[:, 1:2])
        out[f"forward.{side}.embedding"] = sampled(embedding.movedim(1, -1))
        for name, masks, scores in (("box", logits, iou), ("mask", again, again_iou)):
            out[f"forward.{side}.{name}.logits"] = sampled(masks)
            out[f"forward.{side}.{name}.iou"] = scores[0]

    side, target = 128, disc(2, 48, 64)
    pixels = wave(2, side)
    boxes = torch.tensor([[45.0, 15.0, 110.0, 65.0], [40.0, 10.0, 118.0, 70.0]])

    trained = {name: value.clone().requires_grad_() for name, value in weights.items()}
    lora = adapters(4, 0.05)
    for a, b in lora.values():
        a.requires_grad_()
        b.requires_grad_()
    loss = objective(MobileSam(trained, lora, 2.0), pixels, boxes, target)
    loss.backward()
    out["gradient.loss"] = loss.detach()
    for name in (
        "image_encoder.patch_embed.seq.0.weight",
        "image_encoder.layers.0.blocks.1.conv2.weight",
        "image_encoder.layers.1.downsample.conv2.weight",
        "image_encoder.layers.1.blocks.0.attn.norm.weight",
        "image_encoder.layers.2.blocks.3.local_conv.weight",
        "image_encoder.layers.2.blocks.0.attn.qkv.bias",
        "image_encoder.layers.3.blocks.1.attn.proj.weight",
        "image_encoder.layers.3.blocks.0.mlp.fc1.weight",
        "image_encoder.neck.2.weight",
        "prompt_encoder.no_mask_embed.weight",
        "prompt_encoder.point_embeddings.2.weight",
        "mask_decoder.mask_tokens.weight",
        "mask_decoder.transformer.layers.0.self_attn.q_proj.weight",
        "mask_decoder.transformer.layers.1.cross_attn_image_to_token.v_proj.weight",
        "mask_decoder.transformer.layers.1.mlp.lin1.weight",
        "mask_decoder.transformer.norm_final_attn.bias",
        "mask_decoder.output_upscaling.0.weight",
        "mask_decoder.output_upscaling.1.weight",
        "mask_decoder.output_hypernetworks_mlps.0.layers.0.weight",
    ):
        out["gradient." + name] = sampled(trained[name].grad)
    for name, (a, b) in lora.items():
        if name.endswith("blocks.0.attn.qkv") or name.endswith("blocks.1.attn.qkv"):
            out[f"gradient.{name}.lora_A.weight"] = sampled(a.grad)
            out[f"gradient.{name}.lora_B.weight"] = sampled(b.grad)

    lora = adapters(4, 0.0)
    parameters = [tensor.requires_grad_() for pair in lora.values() for tensor in pair]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    losses = []
    for _ in range(6):
        loss = objective(MobileSam(weights, lora, 2.0), pixels, boxes, target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    out["training.losses"] = torch.tensor(losses)
    write_safetensors(out_path, {name: value.numpy() for name, value in out.items()})
    print("losses", losses)


if __name__ == "__main__":
    main(*sys.argv[1:])
