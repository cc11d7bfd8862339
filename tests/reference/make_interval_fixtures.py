"""Writes tests/stats/fixtures/intervals.json: intervals of the mean of skewed samples by scipy's bootstrap, of
the studentised mean (symmetric bootstrap-t) and by BCa.

Run from the project's root, with numpy and scipy of requirements.txt:
python3 tests/reference/make_interval_fixtures.py
"""

import json
from pathlib import Path

import numpy as np
from scipy import stats

RESAMPLES = 1_000_000
BATCH = 20_000


def studentised(values, rng):
    """The mean less and plus the 95 % quantile of |resample's mean - mean| / resample's error, in errors."""
    centre = values.mean()
    root = np.sqrt(len(values))

    def distance(sample, axis=-1):
        return abs(sample.mean(axis) - centre) / (sample.std(axis, ddof=1) / root)

    interval = stats.bootstrap((values,), distance, n_resamples=RESAMPLES, batch=BATCH,
                               method="percentile", alternative="less", random_state=rng)
    reach = interval.confidence_interval.high * values.std(ddof=1) / root
    return [centre - reach, centre + reach]


def bca(values, rng):
    return list(stats.bootstrap((values,), np.mean, n_resamples=RESAMPLES // 10, batch=BATCH,
                                method="BCa", random_state=rng).confidence_interval)


rng = np.random.default_rng(8)
samples = [
    rng.beta(12, 1, 10),
    1 - rng.lognormal(-2.5, 0.5, 20),
    rng.normal(0.02, 0.05, 25),
    rng.beta(8, 2, 52),
]
Path("tests/stats/fixtures/intervals.json").write_text(json.dumps([
    {"values": values.tolist(), "studentised": studentised(values, rng), "bca": bca(values, rng)}
    for values in samples
]) + "\n")
