"""Loads what writeTorch of lib/formats/torch_writer.ts wrote, with the real torch.

python check_torch_writer.py FILE.pth
"""

import sys

import torch

for options in ({"weights_only": True}, {}, {"weights_only": False}, {"mmap": True}):
    state = torch.load(sys.argv[1], **options)
    print(options, type(state).__name__)
for name, tensor in state.items():
    # Each was written as sin(0 + axes), sin(1 + axes), ...
    expected = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) + tensor.dim())
    error = (tensor.double().flatten() - expected).abs()
    print(name, tuple(tensor.shape), tensor.dtype, tensor.is_contiguous(), bool((error < 1e-7).all()))
