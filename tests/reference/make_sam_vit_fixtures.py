"""Writes what Meta's segment_anything computes with seeded weights (see seeded.py), in float64.

Usage: python make_sam_vit_fixtures.py tiny|blocks|vit_b OUT
Needs the packages of requirements.txt. tests/sam/sam_vit.test.ts and sam_vit.slow.ts read the results from
tests/sam/fixtures/sam_vit_{tiny,blocks,vit_b}.safetensors.

- tiny: a whole Sam whose grid of 8 x 8 tokens is padded to windows of 5: embedding, logits, IoU (also
  for two other sides, with positions resized as SAMed does), the gradients of Dice + BCE with respect to
  every weight, LoRA matrices included, and the losses of five Adam steps on LoRA and decoder.
- blocks: single blocks of ViT-B, within windows and global, on grids of 16 x 16 and 64 x 64.
- vit_b: the whole SAM ViT-B at 1024 and, with positions resized, at 512. Also what
  float32 makes of it, as a measure of what rounding alone may cost.
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import (
    ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer)
from segment_anything.modeling.image_encoder import Block
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom

from seeded import disc, fill, hashed, sampled, wave, weight, write_safetensors

torch.set_default_dtype(torch.float64)
torch.set_num_threads(2)

VIT_B = dict(embed_dim=768, depth=12, num_heads=12, window_size=14,
             global_attn_indexes=(2, 5, 8, 11))
TINY = dict(embed_dim=32, depth=4, num_heads=2, window_size=5, global_attn_indexes=(2,))
NORM = lambda dim: torch.nn.LayerNorm(dim, eps=1e-6)

# The official code makes coordinates in float32; they go on in the model's type.
encode = PositionEmbeddingRandom._pe_encoding
PositionEmbeddingRandom._pe_encoding = lambda self, coords: encode(
    self, coords.to(self.positional_encoding_gaussian_matrix.dtype))


def build(side, out_chans=256, **vit):
    """As segment_anything.build_sam puts a Sam together."""
    grid = side // 16
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=side, patch_size=16, mlp_ratio=4, norm_layer=NORM, qkv_bias=True,
            use_rel_pos=True, out_chans=out_chans, **vit),
        prompt_encoder=PromptEncoder(
            embed_dim=out_chans, image_embedding_size=(grid, grid), input_image_size=(side, side),
            mask_in_chans=16),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3, transformer_dim=out_chans, iou_head_depth=3,
            iou_head_hidden_dim=out_chans,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=out_chans, mlp_dim=2048, num_heads=8)),
    )


class LoraLinear(torch.nn.Module):
    """A Linear with a low-rank update, as PEFT puts it in a Linear's place."""

    def __init__(self, name, base, rank, alpha, amplitude):
        super().__init__()
        self.base, self.scaling = base, alpha / rank
        a, b = (rank, base.in_features), (base.out_features, rank)
        self.lora_A = torch.nn.Parameter(weight(name + ".lora_A.weight", a))
        self.lora_B = torch.nn.Parameter(weight(name + ".lora_B.weight", b, amplitude))

    def forward(self, x):
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)


def add_lora(sam, rank, alpha, amplitude):
    """Adapters on every qkv: by name, A and B."""
    made = {}
    for i, block in enumerate(sam.image_encoder.blocks):
        name = f"image_encoder.blocks.{i}.attn.qkv"
        lora = block.attn.qkv = LoraLinear(name, block.attn.qkv, rank, alpha, amplitude)
        made[name + ".lora_A.weight"] = lora.lora_A
        made[name + ".lora_B.weight"] = lora.lora_B
    return made


def predict(sam, pixels, boxes, embedding=None, multimask=False):
    """Low-resolution logits and IoU of a box for each image."""
    embedding = sam.image_encoder(pixels) if embedding is None else embedding
    logits, iou = [], []
    for one, box in zip(embedding, boxes):
        sparse, dense = sam.prompt_encoder(points=None, boxes=box[None], masks=None)
        masks, scores = sam.mask_decoder(
            image_embeddings=one[None], image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense,
            multimask_output=multimask)
        logits.append(masks)
        iou.append(scores)
    return torch.cat(logits), torch.cat(iou)


def objective(sam, pixels, boxes, target, inside):
    """Dice + binary cross-entropy on the targets' own grid."""
    masks, _ = predict(sam, pixels, boxes)
    logits = sam.postprocess_masks(masks, inside, tuple(target.shape[1:]))[:, 0]
    p = logits.sigmoid()
    both, total = (p * target).sum((1, 2)), p.sum((1, 2)) + target.sum((1, 2))
    dice = (2 * both + 1) / (total + 1)
    return F.binary_cross_entropy_with_logits(logits, target) + (1 - dice).mean()


def forward_results(sam, side, samples):
    """Embedding (channels last), logits and IoU of one box, the single mask's first."""
    with torch.no_grad():
        pixels = wave(1, side).to(sam.pixel_mean.dtype)
        embedding = sam.image_encoder(pixels)
        box = torch.tensor([[0.4, 0.15, 0.8, 0.65]]).to(pixels.dtype) * side
        both = [predict(sam, pixels, box, embedding, multi) for multi in (False, True)]
    return {
        "embedding": sampled(embedding.movedim(1, -1), samples),
        "embedding_std": embedding.std(),
        "logits": sampled(torch.cat([logits for logits, _ in both], 1), samples),
        "iou": torch.cat([iou for _, iou in both], 1)[0],
    }


def resized(state, side, global_indexes):
    """Positions for another side, as SAMed's load_from makes them."""
    grid, state = side // 16, dict(state)
    positions = state["image_encoder.pos_embed"].permute(0, 3, 1, 2)
    positions = F.interpolate(positions, (grid, grid), mode="bilinear", align_corners=False)
    state["image_encoder.pos_embed"] = positions.permute(0, 2, 3, 1)
    for name in state:
        if "rel_pos" in name and int(name.split(".")[2]) in global_indexes:
            _, depth = state[name].shape
            state[name] = F.interpolate(
                state[name][None, None], (2 * grid - 1, depth), mode="bilinear",
                align_corners=False)[0, 0]
    return state


def tiny():
    side, out = 128, {}
    make = lambda: fill(build(side, out_chans=64, **TINY))
    for other in (side, 64, 192):
        sam = build(other, out_chans=64, **TINY)
        sam.load_state_dict(resized(make().state_dict(), other, TINY["global_attn_indexes"]))
        for name, value in forward_results(sam, other, 2**11).items():
            out[f"forward.{other}.{name}"] = value

    pixels, target = wave(2, side), disc(2, 48, 64)
    boxes = torch.tensor([[45.0, 15.0, 110.0, 65.0], [40.0, 10.0, 118.0, 70.0]])
    batch = pixels, boxes, target, (96, 128)
    sam = make()
    names = list(sam.state_dict())
    weights = {name: value for name, value in sam.named_parameters()}
    weights |= add_lora(sam, rank=4, alpha=8, amplitude=0.2)
    loss = objective(sam, *batch)
    loss.backward()
    out["gradient.loss"] = loss
    for name, value in weights.items():
        if value.grad is None:
            continue  # no mask was given
        out["gradient." + name] = sampled(value.grad, 512 if "lora" in name else 61)
        out["norm." + name] = value.grad.norm()
    assert all(name in weights or "gaussian" in name for name in names)

    sam = make()
    for value in sam.parameters():
        value.requires_grad_(False)
    trained = list(add_lora(sam, rank=4, alpha=8, amplitude=0).values())
    trained += sam.mask_decoder.parameters()
    for value in trained:
        value.requires_grad_()
    optimizer = torch.optim.Adam(trained, lr=1e-3)
    losses = []
    for step in range(6):
        loss = objective(sam, *batch)
        losses.append(loss.item())
        if step < 5:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    out["training.losses"] = np.array(losses)
    print("losses", losses)
    return out


def blocks():
    out = {}
    for kind, window in (("window", 14), ("global", 0)):
        for grid in (16, 64):
            block = Block(
                dim=768, num_heads=12, mlp_ratio=4, qkv_bias=True, norm_layer=NORM,
                use_rel_pos=True, window_size=window, input_size=(grid, grid))
            fill(block, f"block.{kind}.{grid}.")
            shape = (1, grid, grid, 768)
            x = torch.from_numpy(hashed(f"x.{grid}", 256 * grid * grid * 3).reshape(shape) * 2)
            x.requires_grad_(grid == 16)
            with torch.set_grad_enabled(grid == 16):
                y = block(x)
            out[f"{kind}.{grid}.y"] = sampled(y)
            out[f"{kind}.{grid}.std"] = y.detach().std()
            if grid > 16:
                continue
            towards = torch.from_numpy(hashed(f"dy.{grid}", y.numel()).reshape(shape))
            (y * towards).sum().backward()
            out[f"{kind}.{grid}.gradient.x"] = sampled(x.grad)
            for name, value in block.named_parameters():
                out[f"{kind}.{grid}.gradient.{name}"] = sampled(value.grad, 199)
    return out


def vit_b():
    out = {}
    state = fill(build(1024, **VIT_B)).state_dict()
    for side in (512, 1024):
        sam = build(side, **VIT_B)
        sam.load_state_dict(resized(state, side, VIT_B["global_attn_indexes"]))
        exact = forward_results(sam, side, 4001)
        for name, value in exact.items():
            out[f"{side}.{name}"] = value
        torch.set_default_dtype(torch.float32)
        rounded = forward_results(sam.float(), side, 4001)
        torch.set_default_dtype(torch.float64)
        for name in ("embedding", "logits", "iou"):
            error = (rounded[name].double() - exact[name]).abs().max()
            out[f"{side}.float32_{name}_error"] = error
            print(side, name, "float32 differs by", error.item())
    return out


if __name__ == "__main__":
    _, what, path = sys.argv
    results = {"tiny": tiny, "blocks": blocks, "vit_b": vit_b}[what]()
    write_safetensors(path, {name: np.asarray(torch.as_tensor(value).detach())
                             for name, value in results.items()})
