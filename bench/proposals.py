"""Time region proposals beside torchvision's.

    python bench/proposals.py --rounds 20 --threads 1

The image has 800 x 1344 pixels, five levels of strides 4 to 64 with three anchors a cell, in a batch of 8. Answers are
compared first: the same boxes in the same order, to the rounding of exp. The torch chain gets the anchors as one tensor
and decodes all of them, as torchvision's network does; `filter alone` gets boxes that are decoded already.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import fastdet
from fastdet import proposals
from fastdet.boxes import box_iou

SIZE, STRIDES = (800, 1344), (4, 8, 16, 32, 64)
MAPS = [(-(-SIZE[0] // stride), -(-SIZE[1] // stride)) for stride in STRIDES]


def inputs(images: int, objects: int = 12) -> tuple[list[Any], list[Any], list[Any], list[tuple[int, int]]]:
    """Logits that are high around some objects of each image, and deltas that point at them, with noise."""
    rng = np.random.default_rng(0)
    anchors = proposals.fpn_anchors([32, 64, 128, 256, 512], [0.5, 1.0, 2.0], MAPS, SIZE)
    scores, deltas = [], []
    for x in anchors:
        scores.append(torch.from_numpy(rng.normal(-6, 2, (images, len(x))).astype(np.float32)))
        deltas.append(torch.from_numpy(rng.normal(0, 0.2, (images, len(x), 4)).astype(np.float32)))
    for image in range(images):
        corner = rng.uniform(0, [1000, 600], (objects, 2))
        true = np.concatenate([corner, corner + rng.uniform(30, 400, (objects, 2))], 1).astype(np.float32)
        for x, s in zip(anchors, scores, strict=True):
            s[image] += torch.from_numpy(14 * box_iou(true, x).max(axis=0))
    return scores, deltas, [torch.from_numpy(x) for x in anchors], [(800, 1333 - 20 * k) for k in range(images)]


class Torchvision:
    """torchvision's own decoding and filter_proposals."""

    def __init__(self, pre: int, post: int) -> None:
        from torchvision.models.detection.rpn import RegionProposalNetwork

        top = [{"training": n, "testing": n} for n in (pre, post)]
        nothing: Any = torch.nn.Identity()
        self.network = RegionProposalNetwork(nothing, nothing, 0.7, 0.3, 256, 0.5, *top, 0.7).eval()

    def decode(self, deltas: list[Any], anchors: list[Any]) -> Any:
        images = len(deltas[0])
        flat = torch.cat(deltas, 1).reshape(-1, 4)
        return self.network.box_coder.decode(flat, [torch.cat(anchors)] * images).view(images, -1, 4)

    def filter(self, boxes: Any, scores: list[Any], sizes: list[tuple[int, int]]) -> Any:
        counts = [x.shape[1] for x in scores]
        return self.network.filter_proposals(boxes, torch.cat(scores, 1).reshape(-1, 1), sizes, counts)

    def whole(self, scores: list[Any], deltas: list[Any], anchors: list[Any], sizes: list[tuple[int, int]]) -> Any:
        return self.filter(self.decode(deltas, anchors), scores, sizes)


def compare(own: proposals.Proposals, theirs: Any) -> None:
    """The same boxes, to the rounding of exp. Scores that differ in the last bit may change places."""
    for image, (boxes, scores) in enumerate(zip(*theirs, strict=True)):
        count = int(own.counts[image])
        assert count == len(boxes), f"image {image}: {count} boxes, not {len(boxes)}"
        torch.testing.assert_close(own.scores[image, :count], scores, rtol=1e-6, atol=1e-7)
        mine, other = (sorted(map(tuple, x.round(decimals=1).tolist())) for x in (own.boxes[image, :count], boxes))
        apart = np.abs(np.array(mine) - np.array(other)).max(axis=1) > 0.15
        assert apart.mean() < 0.01, f"image {image}: {int(apart.sum())} boxes of {count} differ"


def timed(calls: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Medians of everybody in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    own = statistics.median(next(iter(times.values())))
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"  {name:32} {1e3 * middle:10.3f} ms {middle / own:8.2f} x")


def generate(images: int, rounds: int) -> None:
    scores, deltas, anchors, sizes = inputs(images)
    for pre in (1000, 2000):
        own = partial(
            proposals.generate_proposals, scores, deltas, anchors, sizes, pre_nms_top_n=pre, post_nms_top_n=1000
        )
        calls: dict[str, Callable[[], Any]] = {"fastdet": own}
        try:
            peer = Torchvision(pre, 1000)
        except ImportError:
            print("torchvision is not installed")
        else:
            compare(own(), peer.whole(scores, deltas, anchors, sizes))
            calls["torchvision"] = partial(peer.whole, scores, deltas, anchors, sizes)
            calls["torchvision, filter alone"] = partial(peer.filter, peer.decode(deltas, anchors), scores, sizes)
        calls["read of the logits"] = lambda: [x.numpy().max() for x in scores]
        print(f"generate_proposals, {images} images, {pre} a level, 1000 an image: {own().counts.tolist()}")
        timed(calls, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    fastdet.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    with torch.no_grad():
        generate(options.images, options.rounds)


if __name__ == "__main__":
    main()
