"""A training step of MobileSAM with LoRA-16 in eager PyTorch float32, as a peer of peers.ts.

Usage: python torch_step.py INPUTS THREADS
INPUTS is a safetensors file with the model's weights, the initial adapters (PATH.lora_A, PATH.lora_B),
`bench.pixels` [B, S, S, 3], `bench.masks` [B, S, S] and `bench.boxes` [B, 4]. Every line of standard
input that names a number of steps is answered by a line of JSON: their milliseconds and losses.
"""
import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.append(str(Path(__file__).parent.parent / "reference"))
from make_mobile_sam_fixtures import MobileSam, objective, read_safetensors  # noqa: E402


class FusedMobileSam(MobileSam):
    """With torch's own linear layer in place of a product and a sum."""

    def linear(self, x, name):
        y = F.linear(x, self.get(name + ".weight"), self.get(name + ".bias"))
        if name in self.adapters:
            a, b = self.adapters[name]
            y = y + self.scaling * F.linear(F.linear(x, a), b)
        return y


def main(inputs, threads):
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(int(threads))
    tensors = {name: value.float() for name, value in read_safetensors(inputs).items()}
    pixels = tensors.pop("bench.pixels").movedim(-1, 1).contiguous()
    masks = tensors.pop("bench.masks")
    boxes = tensors.pop("bench.boxes")
    names = [name.removesuffix(".lora_A") for name in tensors if name.endswith(".lora_A")]
    adapters = {
        name: tuple(tensors.pop(f"{name}.lora_{part}").requires_grad_() for part in "AB")
        for name in names
    }
    parameters = [tensor for pair in adapters.values() for tensor in pair]
    model = FusedMobileSam(tensors, adapters, 1.0)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        losses = []
        start = time.perf_counter()
        for _ in range(int(line)):
            loss = objective(model, pixels, boxes, masks)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
        milliseconds = 1000 * (time.perf_counter() - start)
        print(json.dumps({"milliseconds": milliseconds, "losses": losses}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
