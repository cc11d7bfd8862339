"""What Dice the truth itself allows: the masks of a study's test slices against themselves moved by one
pixel, grown by one pixel, and drawn as well as the mask decoder's grid can.

    python measure_ceiling.py STUDY/MODEL DATA [--side 512] [--every 1]

The slices are those of the model's scores.json, the masks those of DATA, a folder in BraTS layout. Prints
one JSON object. Where two outlines of one length lie d pixels apart on average, Dice is about
1 - d * perimeter / (2 * area).
"""
import argparse
import json
import math
import pathlib

import nibabel
import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def shifted(mask, dx, dy):
    """The mask moved by whole pixels; what leaves the image is lost."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return padded[1 - dy:1 - dy + height, 1 - dx:1 - dx + width]


SIDES = [(1, 0), (-1, 0), (0, 1), (0, -1)]


def grown(mask):
    return np.logical_or.reduce([mask] + [shifted(mask, dx, dy) for dx, dy in SIDES])


def perimeter(mask):
    """Length of the outline in pixels, by Crofton's formula over four directions."""
    padded = np.pad(mask, 2)
    crossings = [
        (padded[1:] != padded[:-1]).sum(),
        (padded[:, 1:] != padded[:, :-1]).sum(),
        (padded[1:, 1:] != padded[:-1, :-1]).sum() / math.sqrt(2),
        (padded[1:, :-1] != padded[:-1, 1:]).sum() / math.sqrt(2),
    ]
    return math.pi / 2 * np.mean(crossings)


def drawn(masks, side, steps=300):
    """The masks that logits on the decoder's grid draw, (slice, height, width): the grid has a quarter of the
    input's side, and goes by bilinear interpolation to the input's side and from there to the slice's, as
    SAM's postprocess_masks does. The logits are fitted to the masks."""
    target = torch.from_numpy(masks).float()[:, None]
    logits = interpolate(target, (side // 4, side // 4), mode="area").mul_(16).sub_(8).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.3)

    def draw():
        large = interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        return interpolate(large, target.shape[-2:], mode="bilinear", align_corners=False)

    for _ in range(steps):
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(draw(), target, reduction="sum").backward()
        optimizer.step()
    return (draw() > 0).numpy()[:, 0]


def read_masks(model, data):
    """The masks of a model's test slices as their scores name them: case, axis and index."""
    volumes = {}
    for score in json.loads((model / "scores.json").read_text()):
        case, axis, index = score["id"].rsplit(":", 2)
        if case not in volumes:
            path = data / case / f"{case}-seg.nii.gz"
            volumes[case] = np.asarray(nibabel.load(path).dataobj) > 0
        yield np.take(volumes[case], int(index), int(axis))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--every", type=int, default=1, help="draw every so many-th slice on the grid")
    options = parser.parse_args()

    masks = list(read_masks(options.model, options.data))
    some = masks[::options.every]
    on_grid = [d for i in range(0, len(some), 8)
               for d in zip(some[i:i + 8], drawn(np.stack(some[i:i + 8]), options.side))]
    print(json.dumps({
        "slices": len(masks),
        "area_by_perimeter": np.mean([mask.sum() / perimeter(mask) for mask in masks]),
        "moved_by_one_pixel": np.mean([dice(mask, shifted(mask, *side)) for mask in masks for side in SIDES]),
        "grown_by_one_pixel": np.mean([dice(mask, grown(mask)) for mask in masks]),
        "drawn_on_grid": {"slices": len(on_grid), "dice": np.mean([dice(*pair) for pair in on_grid])},
    }, indent=2))


if __name__ == "__main__":
    main()
