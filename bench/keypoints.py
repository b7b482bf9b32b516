"""Time the similarity of poses beside NumPy, as pycocotools computes it. Scoring of files: ``detection.py --kind``.

    python bench/keypoints.py --rounds 20

The answers are compared first, to 2 ulp: NumPy's exp differs by processor.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from typing import Any

import numpy as np

from fastdet.keypoints import COCO_SIGMAS, oks


def by_numpy(found: Any, true: Any, areas: Any, boxes: Any) -> Any:
    """One true pose at a time, all detections at once."""
    variances, out = (np.array(COCO_SIGMAS) * 2) ** 2, np.zeros((len(found), len(true)))
    for j, (pose, area) in enumerate(zip(true, areas, strict=True)):
        visible = pose[:, 2] > 0
        d = (found[:, visible, :2] - pose[visible, :2]) ** 2
        e = d.sum(axis=2) / variances[visible] / (area + np.spacing(1)) / 2
        out[:, j] = np.exp(-e).sum(axis=1) / visible.sum()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    r = np.random.default_rng(0)
    for n, m in ((20, 10), (1000, 100)):
        true = np.concatenate([r.random((m, 17, 2)) * 300, r.integers(0, 3, (m, 17, 1))], axis=2)
        true[:, 0, 2] = 2
        found = true[r.integers(0, m, n)] + r.normal(0, 5, (n, 17, 3))
        arguments = found, true, r.random(m) * 20000 + 100, np.tile([0.0, 0, 300, 300], (m, 1))
        calls = {backend: partial(oks, *arguments, backend=backend) for backend in ("cpp", "numba")}
        calls["NumPy"] = partial(by_numpy, *arguments)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for name, call in calls.items():
            np.testing.assert_allclose(call(), calls["cpp"](), rtol=1e-13, atol=1e-300, err_msg=name)
        for _ in range(rounds):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - began)
        own = statistics.median(times["cpp"])
        print(f"{n} x {m} poses")
        for name, seconds in times.items():
            print(f"  {name:8} {1e3 * statistics.median(seconds):9.3f} ms {statistics.median(seconds) / own:7.2f} x")


if __name__ == "__main__":
    main()
