"""Writes tests/metrics/fixtures/surface_distance.json (HD95 and surface Dice of random masks by MONAI, and
again by scipy's erosion and distance transform) and tests/stats/fixtures/statistics.json (Wilcoxon's
test by scipy, Holm's adjustment by its definition).

Run from the project's root: python3 tests/reference/make_metric_fixtures.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage, stats

# shape and spacing in numpy's order: (y, x) for a slice, (z, y, x) for a volume
GRIDS = [
    ((12, 17), (1.0, 1.0)),
    ((20, 15), (0.9765625, 0.9765625)),
    ((16, 16), (0.5, 1.25)),
    ((9, 14), (2.0, 0.75)),
    ((6, 11, 9), (1.0, 1.0, 1.0)),
    ((5, 12, 10), (7.0, 0.9375, 0.9375)),
    ((7, 8, 9), (1.5, 0.5, 0.8)),
]


def blob(rng, shape, threshold):
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    return noise > np.quantile(noise, threshold)


def by_scipy(a, b, spacing):
    cross = ndimage.generate_binary_structure(a.ndim, 1)
    surface = [m & ~ndimage.binary_erosion(m, cross) for m in (a, b)]
    distance = [ndimage.distance_transform_edt(~s, sampling=spacing) for s in surface]
    return distance[1][surface[0]], distance[0][surface[1]]


def surfaces():
    rng = np.random.default_rng(5)
    cases = []
    for shape, spacing in GRIDS:
        for overlapping in (True, False):
            truth = blob(rng, shape, 0.75)
            prediction = np.roll(truth, 1, -1) | blob(rng, shape, 0.93) if overlapping \
                else blob(rng, shape, 0.8)
            tensors = [torch.from_numpy(m.astype(np.float32))[None, None]
                       for m in (prediction, truth)]
            hd95 = compute_hausdorff_distance(
                *tensors, include_background=True, percentile=95, spacing=spacing).item()
            dice = [compute_surface_dice(
                *tensors, [tolerance], include_background=True, spacing=spacing).item()
                for tolerance in (1.0, 2.0)]
            to_truth, to_prediction = by_scipy(prediction, truth, spacing)
            assert np.isclose(hd95, max(np.percentile(d, 95) for d in (to_truth, to_prediction)))
            everything = np.concatenate([to_truth, to_prediction])
            assert np.allclose(dice, [(everything <= t).mean() for t in (1, 2)])
            text = ["".join("01"[v] for v in m.astype(int).ravel()) for m in (prediction, truth)]
            cases.append({
                "shape": [*shape[::-1], *([1] * (3 - len(shape)))],
                "spacing": [*spacing[::-1], *([1] * (3 - len(shape)))],
                "prediction": text[0], "truth": text[1],
                "hd95": hd95, "surfaceDice1mm": dice[0], "surfaceDice2mm": dice[1],
            })
    return cases


def wilcoxon():
    rng = np.random.default_rng(6)
    cases = []
    for n in (1, 2, 5, 6, 10, 23, 50):  # exact: no ties
        d = rng.normal(0.4, 1, n)
        result = stats.wilcoxon(d, method="exact")
        cases.append((d, result, "exact"))
    for n, digits in ((60, 1), (120, 1), (51, 8), (300, 2)):  # ties and zeros, beyond 50
        d = np.round(rng.normal(0.15, 1, n), digits)
        assert (d != 0).sum() > 50
        result = stats.wilcoxon(d, method="approx", zero_method="wilcox", correction=False)
        cases.append((d, result, "normal"))
    strong = rng.normal(2, 0.5, 200)
    cases.append((strong, stats.wilcoxon(strong, method="approx"), "normal"))
    return [{"differences": d.tolist(), "statistic": float(r.statistic), "p": float(r.pvalue),
             "method": method} for d, r, method in cases]


def holm():
    rng = np.random.default_rng(7)
    cases = []
    for n in (1, 2, 5, 12):
        p = np.round(rng.uniform(0, 0.2, n), 3)
        ordered = np.argsort(p, kind="stable")
        adjusted = np.empty(n)
        adjusted[ordered] = np.maximum.accumulate(np.minimum(1, (n - np.arange(n)) * p[ordered]))
        cases.append({"p": p.tolist(), "adjusted": adjusted.tolist()})
    return cases


def normal():
    return [{"z": z, "tail": float(stats.norm.sf(z))}
            for z in (0, 0.1, 0.5, 1, 1.96, 2.5, 2.82, 2.83, 3, 5, 8, 20)]


def write(path, value):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(value) + "\n")


write("tests/metrics/fixtures/surface_distance.json", surfaces())
write("tests/stats/fixtures/statistics.json",
      {"wilcoxon": wilcoxon(), "holm": holm(), "normal": normal()})
