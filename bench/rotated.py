"""Time the ops of rotated boxes beside powerboxes, OpenCV and torchvision.

    python bench/rotated.py --rounds 20 --threads 1 --only nms --json result.json

All are called in turn in one process; fastdet's answer is compared with its reference's first, to the last bit, and the
peers' with it. Boxes are like those of aerial images: of 10 to 100 pixels, at any angle. A peer that raises or panics
is listed with what it says; one that takes more than a second joins one round. The peers treat an overlap that equals
the threshold otherwise than fastdet does, which random boxes do not show.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parent / "harness"))

import numpy as np

Call = Callable[[], Any]
OTHER_RULE = {"OpenCV": "it counts the IoU of a box inside another one as 1"}
SLOW = 1.0  # seconds from which a call joins one round


def some_boxes(n: int, seed: int, side: float, copies: int = 1) -> Any:
    """(n, 5) cx cy w h degrees; ``copies``: so many of each object, jittered."""
    rng = np.random.default_rng(seed)
    objects = -(-n // copies)
    place, size = rng.random((objects, 2)) * side, rng.uniform(10, 100, (objects, 2))
    boxes = np.concatenate([place, size, rng.uniform(-90, 90, (objects, 1))], axis=1).repeat(copies, 0)[:n]
    return boxes + rng.standard_normal(boxes.shape) * (copies > 1)


def present(calls: dict[str, tuple[str, Callable[[Any], Call]]]) -> dict[str, Call]:
    """The calls of those peers, (module, function that makes the call), that are there and answer."""
    found = {}
    for name, (module, make) in calls.items():
        try:
            call = make(importlib.import_module(module))
            call()
        except BaseException as error:  # a panic of Rust is no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            print(f"absent: {name}: {type(error).__name__}: {str(error)[:80]}")
            continue
        found[name] = call
    return found


def iou_case(side: float) -> tuple[Call, dict[str, Call], Callable[[Any, Any], bool]]:
    from fastdet import rotated

    a, b = some_boxes(1000, 0, side), some_boxes(1000, 1, side)
    want = rotated.box_iou_rotated(a, b, clockwise=True, backend="reference")
    assert rotated.box_iou_rotated(a, b, clockwise=True).tobytes() == want.tobytes()

    def torchvision_iou(module: Any) -> Call:
        torch = importlib.import_module("torch")
        one, other = (torch.from_numpy(x * [1, 1, 1, 1, -1]) for x in (a, b))
        return lambda: 1 - module.ops.box_iou(one, other, fmt="cxcywhr").numpy()

    peers = present(
        {
            "powerboxes": ("powerboxes", lambda m: lambda: m.rotated_iou_distance(a, b)),
            "powerboxes parallel": ("powerboxes", lambda m: lambda: m.parallel_rotated_iou_distance(a, b)),
            "torchvision": ("torchvision", torchvision_iou),
        }
    )
    ours = lambda: rotated.box_iou_rotated(a, b, clockwise=True)  # noqa: E731
    return ours, peers, lambda x, y: bool(np.abs(x - (1 - y)).max() < 1e-5)  # torchvision's is float32


def nms_case(n: int, copies: int, threshold: float = 0.5) -> tuple[Call, dict[str, Call], Callable[[Any, Any], bool]]:
    from fastdet import rotated

    boxes = some_boxes(n, 2, 32 * (n / copies) ** 0.5, copies)
    scores = np.random.default_rng(3).permutation(n) / n
    if n <= 2000:
        want = rotated.nms_rotated(boxes, scores, threshold, clockwise=True, backend="reference")
    else:
        want = rotated.nms_rotated(boxes, scores, threshold, clockwise=True, backend="numba")
    assert np.array_equal(rotated.nms_rotated(boxes, scores, threshold, clockwise=True), want)

    def opencv(module: Any) -> Call:
        rects, values = [((x, y), (w, h), r) for x, y, w, h, r in boxes.tolist()], scores.tolist()
        return lambda: module.dnn.NMSBoxesRotated(rects, values, 0.0, threshold)

    peers = present(
        {
            "powerboxes R-tree": ("powerboxes", lambda m: lambda: m.rtree_rotated_nms(boxes, scores, threshold, -1.0)),
            "powerboxes": ("powerboxes", lambda m: lambda: m.rotated_nms(boxes, scores, threshold, -1.0)),
            "OpenCV": ("cv2", opencv),
        }
        if n <= 2000 or copies == 1
        else {}
    )

    def same(x: Any, y: Any) -> bool:
        """But for pairs whose overlap a float32 puts on the other side of the threshold."""
        return len(np.setxor1d(x, np.asarray(y))) <= 1 + n // 1000

    return lambda: rotated.nms_rotated(boxes, scores, threshold, clockwise=True), peers, same


CASES: dict[str, Callable[[], tuple[Call, dict[str, Call], Callable[[Any, Any], bool]]]] = {
    "iou 1,000 x 1,000, sparse (1 % overlap)": lambda: iou_case(1000),
    "iou 1,000 x 1,000, dense (12 % overlap)": lambda: iou_case(300),
    "nms 1,000": lambda: nms_case(1000, 1),
    "nms 1,000, 5 of each object": lambda: nms_case(1000, 5),
    "nms 2,000": lambda: nms_case(2000, 1),
    "nms 10,000": lambda: nms_case(10_000, 1),
    "nms 10,000, 5 of each object": lambda: nms_case(10_000, 5),
}


def run(name: str, made: Any, rounds: int) -> dict[str, Any]:
    ours, peers, same = made
    answer = ours()
    for peer, call in peers.items():
        if not same(answer, call()):
            assert peer in OTHER_RULE, f"{name}: {peer} has another answer"
            print(f"another answer: {peer}: {OTHER_RULE[peer]}")
    times: dict[str, list[float]] = {who: [] for who in ("fastdet", *peers)}
    calls = {"fastdet": ours, **peers}
    for _ in range(rounds):
        for who, call in calls.items():
            if times[who] and times[who][0] > SLOW:
                times[who].append(times[who][0])
                continue
            begin = time.perf_counter()
            call()
            times[who].append(time.perf_counter() - begin)
    print(name)
    figures = {}
    for who, values in times.items():
        ratio = statistics.median(v / w for v, w in zip(values, times["fastdet"], strict=True))
        median, least = statistics.median(values) * 1e3, min(values) * 1e3
        print(f"  {who:28s} {median:9.3f} ms (minimum {least:.3f})  {ratio:8.2f} x fastdet's")
        figures[who] = {"ms": median, "least": least, "ratio": ratio}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="a part of a case's name")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    for pool in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTDET_NUM_THREADS"):
        os.environ[pool] = str(args.threads)
    from harness import save

    import fastdet

    fastdet.set_num_threads(args.threads)
    for name, make in CASES.items():
        if args.only not in name:
            continue
        figures = run(name, make(), args.rounds)
        if args.json:
            save(args.json, {"case": name, "threads": args.threads, "who": figures})


if __name__ == "__main__":
    main()
