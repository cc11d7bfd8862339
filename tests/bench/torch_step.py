"""A training step with LoRA in eager PyTorch, as a peer of peers.ts and of ./run gpu-report.

Usage: python torch_step.py mobile_sam|vit_b INPUTS DEVICE THREADS
INPUTS is a safetensors file with the model's weights, the initial adapters (PATH.lora_A, PATH.lora_B),
`bench.pixels` [B, S, S, 3], `bench.masks` [B, S, S] and `bench.boxes` [B, 4]. The first line that it
prints names the version. Then every line of standard input that names a number of steps, and a precision if
it is not fp32 (tf32, or amp: autocast, with scaled losses on a GPU), is answered by a line of JSON: their
milliseconds and losses, and the most memory that was resident and, on a GPU, allocated; or the error that
kept them from being done.
"""
import json
import resource
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parent.parent / "reference"))


def mobile_sam(weights, adapters):
    """MobileSAM as the references have it, with torch's own linear layer in place of a product and a sum."""
    from make_mobile_sam_fixtures import MobileSam, objective

    class FusedMobileSam(MobileSam):
        def linear(self, x, name):
            y = F.linear(x, self.get(name + ".weight"), self.get(name + ".bias"))
            if name in self.adapters:
                a, b = self.adapters[name]
                y = y + self.scaling * F.linear(F.linear(x, a), b)
            return y

    model = FusedMobileSam(weights, adapters, 1.0)
    return lambda pixels, boxes, masks: objective(model, pixels, boxes, masks)


class LoraLinear(torch.nn.Module):
    """A Linear with a low-rank update, as PEFT puts it in a Linear's place."""

    def __init__(self, base, a, b):
        super().__init__()
        self.base, self.a, self.b = base, a, b

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.a), self.b)


def vit_b(weights, adapters, side):
    """Meta's segment_anything, with positions resized to another side."""
    from make_sam_vit_fixtures import VIT_B, build, objective, resized
    torch.set_default_dtype(torch.float32)
    model = build(side, **VIT_B)
    model.load_state_dict(resized(weights, side, VIT_B["global_attn_indexes"]), strict=False)
    model.requires_grad_(False)
    for name, (a, b) in adapters.items():
        parent = model.get_submodule(name.removesuffix(".qkv"))
        parent.qkv = LoraLinear(parent.qkv, a, b)
    return lambda pixels, boxes, masks: objective(model, pixels, boxes, masks, (side, side))


def main(name, inputs, device, threads):
    torch.set_default_device(device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    tensors = load_file(inputs, device)
    pixels = tensors.pop("bench.pixels").movedim(-1, 1).contiguous()
    masks = tensors.pop("bench.masks")
    boxes = tensors.pop("bench.boxes")
    names = [name.removesuffix(".lora_A") for name in tensors if name.endswith(".lora_A")]
    adapters = {
        name: tuple(tensors.pop(f"{name}.lora_{part}").requires_grad_() for part in "AB")
        for name in names
    }
    parameters = [tensor for pair in adapters.values() for tensor in pair]
    if name == "mobile_sam":
        loss_of = mobile_sam(tensors, adapters)
    else:
        loss_of = vit_b(tensors, adapters, pixels.shape[-1])
    # The references work in float64, on threads of their own choice.
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(int(threads))
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)

    def run(steps, precision):
        tf32, amp = precision == "tf32", precision == "amp"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        scaler = torch.cuda.amp.GradScaler(enabled=amp and device == "cuda")
        losses = []
        for _ in range(steps):
            with torch.autocast(device, enabled=amp):
                loss = loss_of(pixels, boxes, masks)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
        return losses

    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        steps, precision = (line.split() + ["fp32"])[:2]
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        try:
            losses, error = run(int(steps), precision), None
        except RuntimeError as reason:  # a product of two types under autocast, or no memory
            losses, error = [], str(reason).split("\n")[0]
        milliseconds = 1000 * (time.perf_counter() - start)
        print(json.dumps({
            "milliseconds": milliseconds,
            "losses": losses,
            **({"error": error} if error else {}),
            "peakHostBytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "peakGpuBytes": torch.cuda.max_memory_allocated() if device == "cuda" else 0,
        }), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
