"""Time the ops of masks beside pycocotools' successors and chains of torch ops.

    python bench/masks.py --rounds 20 --threads 1 --only paste --json result.json

All are called in turn in one process; the answers are compared first, to the last bit: those of fastdet with its
reference and with each peer. Masks are discs of all sizes, as smooth as objects are; polygons are regular with a little
noise, of as many corners as COCO's have.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parent / "harness"))

import numpy as np

Call = Callable[[], Any]
COCO_LIKE = ("hotcoco.mask", "ultrafast_pycocotools.mask", "faster_coco_eval.mask", "pycocotools.mask")
SLOW = ("faster_coco_eval.mask", "pycocotools.mask")


class Case:
    """What is timed: fastdet's call, those of peers by name, and whether an answer equals fastdet's."""

    def __init__(self, ours: Call, peers: dict[str, Call], same: Callable[[Any, Any], bool], floor: str) -> None:
        self.ours, self.peers, self.same, self.floor = ours, peers, same, floor


def discs(n: int, height: int, width: int, least: float, most: float) -> Any:
    """(n, height, width) bool"""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    place = rng.random((n, 2)) * [height, width]
    radius = rng.uniform(least, most, n)
    return np.stack([(y - a) ** 2 + (x - b) ** 2 < r * r for (a, b), r in zip(place, radius, strict=True)])


def coco_like(make: Callable[[Any], Call], slow: bool = True) -> dict[str, Call]:
    """A call of each peer that has pycocotools' functions and is there."""
    found = {}
    for name in COCO_LIKE:
        if name in SLOW and not slow:
            continue
        try:
            found[name.partition(".")[0]] = make(importlib.import_module(name))
        except ImportError as error:
            print(f"absent: {name}: {error}")
    return found


def records(found: Any) -> list[bytes]:
    """COCO's dictionaries as text, to be compared."""
    listed = found.to_coco() if hasattr(found, "to_coco") else found
    texts = (r["counts"] for r in listed)
    return [t.encode() if isinstance(t, str) else bytes(t) for t in texts]


def same_records(a: Any, b: Any) -> bool:
    return records(a) == records(b)


def encode_case() -> Case:
    from fastdet import masks

    dense = discs(100, 480, 640, 20, 120).astype(np.uint8)
    columns = np.asfortranarray(dense.transpose(1, 2, 0))
    assert masks.encode(dense) == masks.encode(dense, backend="reference")
    return Case(
        lambda: masks.encode(dense),
        coco_like(lambda m: lambda: m.encode(columns)),
        same_records,
        "reads 30.7 MB",
    )


def encode_columns_case() -> Case:
    from fastdet.coco import mask

    columns = np.asfortranarray(discs(100, 480, 640, 20, 120).astype(np.uint8).transpose(1, 2, 0))
    return Case(
        lambda: mask.encode(columns), coco_like(lambda m: lambda: m.encode(columns)), same_records, "reads 30.7 MB"
    )


def decode_case(columns: bool) -> Case:
    from fastdet import masks

    dense = discs(100, 480, 640, 20, 120)
    rle = masks.encode(dense)
    listed = rle.to_coco()
    return Case(
        lambda: masks.decode(rle, columns=columns),
        coco_like(lambda m: lambda: m.decode(listed)),
        lambda a, b: np.array_equal(a, np.asarray(b).transpose(2, 0, 1)),
        "writes 30.7 MB",
    )


def iou_case(size: tuple[int, int], most: float) -> Case:
    from fastdet import masks

    rle = masks.encode(discs(1000, *size, 10, most))
    listed = rle.to_coco()
    crowd = [0] * len(listed)
    few = rle[:50]
    want = masks.mask_iou(few, few, backend="reference")
    assert np.array_equal(masks.mask_iou(few, few), want)
    return Case(
        lambda: masks.mask_iou(rle, rle),
        coco_like(lambda m: lambda: m.iou(listed, listed, crowd), slow=False),
        lambda a, b: np.array_equal(a, np.asarray(b)),
        "writes 8 MB; the words that boxes have in common",
    )


def polygon_case() -> Case:
    from fastdet import masks

    rng = np.random.default_rng(0)
    polygons = []
    for _ in range(830):
        corners = int(rng.integers(8, 60))
        turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        radius = rng.uniform(8, 120) * rng.uniform(0.8, 1.2, corners)
        middle = rng.random(2) * [640, 480]
        xy = np.stack([middle[0] + radius * np.cos(turn), middle[1] + radius * np.sin(turn)], 1)
        polygons.append([xy.clip(0, [640, 480]).round(2).ravel().tolist()])
    few, flat = polygons[:40], [polygon for mask in polygons for polygon in mask]
    assert masks.from_polygons(few, (480, 640)) == masks.from_polygons(few, (480, 640), backend="reference")
    return Case(
        lambda: masks.from_polygons(polygons, (480, 640)),
        coco_like(lambda m: lambda: m.frPyObjects(flat, 480, 640)),
        same_records,
        "about 2 us a polygon",
    )


def heads(n: int, height: int, width: int, side: tuple[float, float]) -> tuple[Any, Any]:
    """Smooth masks (n, 28, 28) of a head, and boxes, float32."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:28, :28] - 13.5) / 14
    slope, shift = rng.uniform(-0.4, 0.4, (2, n, 1, 1)), rng.uniform(0.6, 1, (n, 1, 1))
    values = 1 / (1 + np.exp((x * x + y * y + slope[0] * x + slope[1] * y - shift) * 6))
    corner = rng.random((n, 2)) * [width * 0.85, height * 0.85]
    boxes = np.hstack([corner, corner + rng.uniform(*side, (n, 2))]).clip(0, [width, height] * 2)
    return values.astype(np.float32), boxes.astype(np.float32)


def paste_case() -> Case:
    """detectron2's chain: positions, grid_sample, a threshold, masks of the whole image, pycocotools."""
    from fastdet import masks

    torch: Any = importlib.import_module("torch")
    coco: Any = importlib.import_module("pycocotools.mask")
    height, width = 800, 1333
    values, boxes = heads(100, height, width, (30, 280))
    small, corners = torch.from_numpy(values)[:, None], torch.from_numpy(boxes)

    def sampled(some: Any, box: Any, x: Any, y: Any) -> Any:
        x1, y1, x2, y2 = box.split(1, 1)
        y = (y + 0.5 - y1) / (y2 - y1) * 2 - 1
        x = (x + 0.5 - x1) / (x2 - x1) * 2 - 1
        grid = torch.stack([x[:, None, :].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])], 3)
        return torch.nn.functional.grid_sample(some, grid, align_corners=False)[:, 0] >= 0.5

    def by_box() -> Any:
        image = torch.zeros(len(small), height, width, dtype=torch.bool)
        for i in range(len(small)):
            x1, y1 = (int(v) for v in (corners[i, :2].floor() - 1).clamp(min=0))
            x2, y2 = min(int(corners[i, 2].ceil()) + 1, width), min(int(corners[i, 3].ceil()) + 1, height)
            x, y = torch.arange(x1, x2)[None], torch.arange(y1, y2)[None]
            image[i, y1:y2, x1:x2] = sampled(small[i : i + 1], corners[i : i + 1], x, y)[0]
        return [coco.encode(np.asfortranarray(mask)) for mask in image.numpy().view(np.uint8)]

    def whole() -> Any:
        image = sampled(small, corners, torch.arange(width)[None], torch.arange(height)[None])
        return [coco.encode(np.asfortranarray(mask)) for mask in image.numpy().view(np.uint8)]

    def near(a: Any, b: Any) -> bool:
        """float32 positions move a few pixels at the threshold."""
        other = masks.decode(masks.RLE.from_coco(b))
        return bool((masks.decode(a) != other).sum() < 1e-3 * other.sum())

    def ours() -> Any:
        return masks.paste_masks(values, boxes, (height, width), out="rle")

    assert ours() == masks.paste_masks(values, boxes, (height, width), out="rle", backend="reference")
    return Case(ours, {"torch by box, pycocotools": by_box, "torch whole, pycocotools": whole}, near, "0.8 ms")


def process_case() -> Case:
    """The usual chain: a product, interpolation, a crop, above 0, pycocotools."""
    from fastdet import masks

    torch: Any = importlib.import_module("torch")
    coco: Any = importlib.import_module("pycocotools.mask")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:160, :160] / 160
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(-9, 9, (32, 3))]
    planes, weights = np.stack(waves).astype(np.float32), rng.standard_normal((100, 32)).astype(np.float32)
    _, boxes = heads(100, 640, 640, (30, 280))
    given = [torch.from_numpy(v) for v in (planes, weights, boxes)]
    columns, rows = torch.arange(640)[None, None, :], torch.arange(640)[None, :, None]

    def chain() -> Any:
        logits = (given[1] @ given[0].reshape(32, -1)).reshape(1, -1, 160, 160)
        up = torch.nn.functional.interpolate(logits, (640, 640), mode="bilinear", align_corners=False)[0]
        x1, y1, x2, y2 = given[2][:, :, None].split(1, 1)
        inside = (columns >= x1) & (columns < x2) & (rows >= y1) & (rows < y2)
        return up * inside > 0

    def near(a: Any, b: Any) -> bool:
        other = masks.decode(masks.RLE.from_coco(b)) if isinstance(b, list) else b.numpy()
        return bool((masks.decode(a) != other).sum() < 1e-3 * other.sum())

    def ours() -> Any:
        return masks.process_mask(planes, weights, boxes, (640, 640), out="rle")

    def encoded() -> Any:
        return [coco.encode(np.asfortranarray(mask)) for mask in chain().numpy().view(np.uint8)]

    assert ours() == masks.process_mask(planes, weights, boxes, (640, 640), out="rle", backend="reference")
    return Case(ours, {"torch": chain, "torch, pycocotools": encoded}, near, "products of prototypes in the boxes")


def boundary_case() -> Case:
    from fastdet import masks

    cv2: Any = importlib.import_module("cv2")
    dense = discs(100, 480, 640, 20, 120).astype(np.uint8)
    rle, kernel = masks.encode(dense), np.ones((3, 3), np.uint8)
    coco: Any = importlib.import_module("pycocotools.mask")

    def opencv() -> Any:
        made = []
        for record in rle.to_coco():
            mask = coco.decode(record)
            framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
            made.append(coco.encode(np.asfortranarray(mask - cv2.erode(framed, kernel, iterations=16)[1:-1, 1:-1])))
        return made

    return Case(lambda: masks.boundary(rle), {"OpenCV, pycocotools": opencv}, same_records, "")


def nms_case() -> Case:
    from fastdet import masks

    rle = masks.encode(discs(1000, 480, 640, 10, 60))
    scores = np.random.default_rng(0).random(1000)

    def matrix() -> Any:
        """The whole matrix first."""
        order = np.argsort(-scores, kind="stable")
        above = masks.mask_iou(rle[order], rle[order]) > 0.3
        removed, keep = np.zeros(len(order), bool), []
        for i in range(len(order)):
            if not removed[i]:
                keep.append(order[i])
                removed |= above[i]
        return np.array(keep)

    assert np.array_equal(
        masks.mask_nms(rle[:80], scores[:80], 0.3, backend="reference"), masks.mask_nms(rle[:80], scores[:80], 0.3)
    )
    return Case(lambda: masks.mask_nms(rle, scores, 0.3), {"mask_iou, then NumPy": matrix}, np.array_equal, "")


CASES: dict[str, Callable[[], Case]] = {
    "encode 100 x 480 x 640": encode_case,
    "encode 100 x 480 x 640, columns": encode_columns_case,
    "decode 100 x 480 x 640": lambda: decode_case(False),
    "decode 100 x 480 x 640, columns": lambda: decode_case(True),
    "mask_iou 1,000 x 1,000, 480 x 640": lambda: iou_case((480, 640), 60),
    "mask_iou 1,000 x 1,000, 480 x 640, large": lambda: iou_case((480, 640), 200),
    "from_polygons 830": polygon_case,
    "paste_masks 100 to RLE, 800 x 1333": paste_case,
    "process_mask 100 to RLE, 640 x 640": process_case,
    "boundary 100 x 480 x 640": boundary_case,
    "mask_nms 1,000, 480 x 640": nms_case,
}

MEMORY = """
import numpy as np
from fastdet import masks
rng = np.random.default_rng(0)
values = rng.random((1000, 28, 28), np.float32)
corner = rng.random((1000, 2)) * [3000, 1600]
boxes = np.hstack([corner, corner + rng.uniform(20, 800, (1000, 2))])
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
masks.paste_masks(values[:1], boxes[:1], (2160, 3840), out="rle")
before = peak()
rle = masks.paste_masks(values, boxes, (2160, 3840), out="rle")
print(before, peak(), len(rle.counts))
"""


def memory() -> None:
    """The peak of a process that pastes 1,000 masks of noise, which has the most runs, into a 4K image."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", MEMORY], env=env, capture_output=True, text=True, check=True)
    before, peak, runs = (float(x) for x in done.stdout.split())
    print(
        f"paste_masks 1,000 to RLE, 2160 x 3840: peak {peak:.0f} MB, {peak - before:.0f} MB of it for {runs:,.0f} runs"
    )


def run(name: str, case: Case, rounds: int) -> dict[str, Any]:
    answer = case.ours()
    for peer, call in case.peers.items():
        assert case.same(answer, call()), f"{name}: {peer} has another answer"
    times: dict[str, list[float]] = {"fastdet": [], **{peer: [] for peer in case.peers}}
    calls = {"fastdet": case.ours, **case.peers}
    for _ in range(rounds):
        for who, call in calls.items():
            begin = time.perf_counter()
            call()
            times[who].append(time.perf_counter() - begin)
    print(name, f"(floor: {case.floor})" * bool(case.floor))
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
    try:
        importlib.import_module("torch").set_num_threads(args.threads)
    except ImportError:
        print("absent: torch")
    for name, make in CASES.items():
        if args.only not in name:
            continue
        try:
            figures = run(name, make(), args.rounds)
        except ImportError as error:
            print(f"absent: {name}: {error}")
            continue
        if args.json:
            save(args.json, {"case": name, "threads": args.threads, "who": figures})
    if args.only in "memory":
        memory()


if __name__ == "__main__":
    main()
