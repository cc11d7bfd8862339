"""Merges an adapter that the real peft saved into a whole SAM ViT-B by `./run merge`, and loads the result
in segment_anything: names and shapes strictly, weights and embedding against peft's own merge.

    python check_merge.py FOLDER

FOLDER takes about 1.2 GB. The weights are seeded (seeded.py), since no checkpoint comes with the project.
"""
import pathlib
import subprocess
import sys

import peft
import torch
from safetensors.torch import load_file
from segment_anything import sam_model_registry

from seeded import fill, wave


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    sam = fill(sam_model_registry["vit_b"]()).eval()
    torch.save(sam.state_dict(), folder / "sam_vit_b.pth")

    torch.manual_seed(0)
    adapted = peft.get_peft_model(sam, peft.LoraConfig(
        r=8, lora_alpha=16, target_modules=["attn.qkv", "q_proj"], init_lora_weights=False))
    adapted.save_pretrained(folder / "adapter")
    merged = adapted.merge_and_unload()
    expected = {name: tensor.clone() for name, tensor in merged.state_dict().items()}

    run = pathlib.Path(__file__).resolve().parents[2] / "run"
    subprocess.run([run, "merge", folder / "adapter", "--model", "vit_b", "--weights",
                    folder / "sam_vit_b.pth", "--out", folder / "merged.safetensors"], check=True)

    ours = sam_model_registry["vit_b"]().eval()
    ours.load_state_dict(load_file(folder / "merged.safetensors"), strict=True)
    untouched = fill(sam_model_registry["vit_b"]()).state_dict()
    changed = [name for name in expected if not torch.equal(untouched[name], expected[name])]
    difference = max((ours.state_dict()[name] - expected[name]).abs().max().item() for name in expected)
    print(f"{len(expected)} tensors load strictly; {len(changed)} differ from the unmerged model's")
    print(f"largest difference of a weight from peft's merge: {difference:.1e}")
    x = wave(1, 1024).float()
    with torch.no_grad():
        a, b = ours.image_encoder(x), merged.image_encoder(x)
    print(f"largest difference of the embedding: {(a - b).abs().max() / b.std():.1e} of its deviation")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
