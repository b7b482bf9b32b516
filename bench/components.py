"""Connected components with statistics: fastdet against OpenCV, after the answers are compared.

    python bench/components.py --repeats 15

Maps of 1024 x 2048, one thread each: a few ellipses, blurred noise cut at a level, and plain noise. Floor: the labels
are read once and the int32 map is written once (measured as a fill of that size).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

import fastdet
from fastdet.masks import connected_components

SIZE = 1024, 2048


def maps() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    few = np.zeros(SIZE, np.uint8)
    for _ in range(60):
        centre = int(rng.integers(0, SIZE[1])), int(rng.integers(0, SIZE[0]))
        axes = int(rng.integers(10, 120)), int(rng.integers(10, 120))
        cv2.ellipse(few, centre, axes, float(rng.integers(180)), 0, 360, 1, -1)
    blobs = cv2.GaussianBlur(rng.standard_normal(SIZE), (0, 0), 6) > 0.01
    return {"ellipses": few, "blobs": blobs.astype(np.uint8), "noise": (rng.random(SIZE) < 0.5).astype(np.uint8)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    fastdet.set_num_threads(1)
    cv2.setNumThreads(1)
    for name, labels in maps().items():
        got = connected_components(labels)
        _, numbers, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(labels, 8, cv2.CV_32S, cv2.CCL_SAUF)
        np.testing.assert_array_equal(got.map, numbers)
        np.testing.assert_array_equal(got.areas, stats[1:, cv2.CC_STAT_AREA])
        calls: dict[str, Callable[[], Any]] = {
            "fastdet": lambda x=labels: connected_components(x),  # type: ignore[misc]
            "OpenCV": lambda x=labels: cv2.connectedComponentsWithStats(x),  # type: ignore[misc]
            "OpenCV, no statistics": lambda x=labels: cv2.connectedComponents(x),  # type: ignore[misc]
            "fill of the map": lambda: np.empty(SIZE, np.int32).fill(1),
        }
        times: dict[str, list[float]] = {key: [] for key in calls}
        for _ in range(options.repeats):
            for key, call in calls.items():
                began = time.perf_counter()
                call()
                times[key].append(time.perf_counter() - began)
        print(f"{name}: {len(got.areas):,} components")
        for key, some in times.items():
            ratio = statistics.median(a / b for a, b in zip(some, times["fastdet"], strict=True))
            print(f"  {key:22} {1000 * statistics.median(some):8.2f} ms  {ratio:6.1f} of fastdet")


if __name__ == "__main__":
    main()
