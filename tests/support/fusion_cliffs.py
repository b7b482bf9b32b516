"""Inputs on which box fusion once took time quadratic in the number of boxes: arguments by name, for any number n.

A name is the function's, then the case's. Boxes are float64 and finite, as the functions want them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from cliffs import NMS_CLIFFS, Arguments, Array, Cliff, squares, strips, with_first


def _scores(n: int) -> Array:
    return np.random.default_rng(n).uniform(0.1, 1, n)


def _identical(n: int) -> Array:
    return np.tile([[0.0, 0, 10, 10]], (n, 1))


def _doubles(n: int) -> Array:
    """Each box stands twice, and both again a little beside."""
    boxes = np.repeat(squares(-(-n // 4)), 4, axis=0)[:n]
    boxes[1::4] += 1
    boxes[3::4] += 1.5
    return boxes


def _clusters(n: int) -> Array:
    """Objects, each seen ten times."""
    rng = np.random.default_rng(n)
    return np.repeat(squares(-(-n // 10), 10.0, 14.0), 10, axis=0)[:n] + rng.normal(0, 0.7, (n, 4))


def _jittered(n: int) -> Array:
    return np.array([0.0, 0, 100, 100]) + np.random.default_rng(n).uniform(-4, 4, (n, 4))


def _row(n: int) -> Array:
    """Each overlaps its neighbours by half."""
    left = np.arange(n) * 5.0
    return np.stack([left, np.zeros(n), left + 10, np.full(n, 10.0)], axis=1)


def _crossing(n: int) -> Array:
    """Thin strips in two directions at random places: half of the pairs overlap, none by much."""
    corner = np.random.default_rng(n).uniform(0, 1000, (n, 2))
    return np.hstack([corner, corner + np.where(np.arange(n)[:, None] % 2, [[1000, 0.01]], [[0.01, 1000]])])


def _concentric(n: int) -> Array:
    half = 2.0 ** np.linspace(-300, 300, n)[:, None]
    return np.hstack([-half, -half, half, half])


def _one_large(n: int) -> Array:
    return with_first(squares(n), [0, 0, 1e7, 1e7])


def _one_over_all(n: int) -> Array:
    """All others are of one size, and inside of the first."""
    boxes = squares(n)
    return with_first(boxes, [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)])


def _largest(n: int) -> Array:
    """Areas overflow for some pairs, and not for others."""
    side = 2.0 ** np.random.default_rng(n).uniform(509, 513, (n, 1))
    return np.hstack([-side, -0.9 * side, side, side])


def _far_and_tiny(n: int) -> Array:
    boxes = squares(n, 10.0, 9.0)
    boxes[::3] *= 2.0**600
    boxes[1::3] *= 2.0**-500
    return boxes


def _degenerate(n: int) -> Array:
    """Lines, points and boxes with their corners swapped, which overlap none."""
    boxes = squares(n)
    boxes[::3, 2] = boxes[::3, 0]
    boxes[1::6] = boxes[1::6][:, [2, 3, 0, 1]]
    return boxes


def of_nms(name: str) -> Callable[[int], Array]:
    """The boxes of a case of NMS that are finite."""
    return lambda n: np.asarray(NMS_CLIFFS[name](n)["boxes"], np.float64)


PLACES: dict[str, Callable[[int], Array]] = {
    "apart": squares,
    "apart, far": lambda n: squares(n) * 2.0**505,
    "apart, tiny": lambda n: squares(n) * 2.0**-540,
    "clusters": _clusters,
    "degenerate": _degenerate,
    "doubles": _doubles,
    "row": _row,
    "identical": _identical,
    "identical, far": lambda n: _identical(n) * 2.0**600,
    "one large": _one_large,
    "one over all": _one_over_all,
    "strips": strips,
    "crossing strips": _crossing,
    "concentric": _concentric,
    "jittered": _jittered,
    "jittered, far": lambda n: _jittered(n) * 2.0**700,
    "largest": _largest,
    "far and tiny": _far_and_tiny,
    **{
        name.replace("_", " "): of_nms(name)
        for name in ("beyond", "tiny", "denormal", "giants", "magnitudes", "nested", "brick_wall", "touching")
    },
}


def _fused(place: str, n: int, scores: Callable[[int], Array] = _scores, **options: Any) -> Arguments:
    """All boxes are one model's, of one label."""
    return {
        "boxes_list": [PLACES[place](n)],
        "scores_list": [scores(n)],
        "labels_list": [np.zeros(n, np.int64)],
        **options,
    }


def _merged(place: str, n: int, iou_threshold: float = 0.5, **options: Any) -> Arguments:
    return {"boxes": PLACES[place](n), "scores": _scores(n), "iou_threshold": iou_threshold, **options}


def _grouped(place: str, n: int, iou_threshold: float = 0.5, **options: Any) -> Arguments:
    """For non-maximum merging. The tree takes boxes of few equal scores out together."""
    return {"boxes": PLACES[place](n), "scores": _scores(n), "iou_threshold": iou_threshold, **options}


def _tied(place: str, n: int) -> Arguments:
    return {**_grouped(place, n), "scores": np.floor(_scores(n) * 3)}


def _keyed(n: int) -> Arguments:
    """Keys of one box and of many."""
    return {**_grouped("clusters", n), "idxs": np.where(np.arange(n) % 4 == 0, np.arange(n), np.arange(n) % 3)}


def _models(n: int, conf_type: str) -> Arguments:
    """Each model has one box."""
    return {
        "boxes_list": list(_clusters(n)[:, None]),
        "scores_list": list(_scores(n)[:, None]),
        "labels_list": [np.zeros(1, np.int64)] * n,
        "conf_type": conf_type,
    }


def _one(n: int) -> Array:
    return np.ones(n)


def _walkers(n: int) -> Arguments:
    """Of boxes whose scores are all 0 the last that joined stands for all: fused boxes walk off in all directions."""
    walkers = max(1, n // 20)
    turn = np.random.default_rng(n).uniform(0, 2 * np.pi, walkers)
    start = squares(walkers, 10.0, 30.0)[np.arange(n) % walkers]
    step = 3.0 * np.stack([np.cos(turn), np.sin(turn)] * 2, axis=1)[np.arange(n) % walkers]
    boxes = start + step * (np.arange(n) // walkers)[:, None]
    return {
        "boxes_list": [boxes],
        "scores_list": [np.zeros(n)],
        "labels_list": [np.zeros(n, np.int64)],
        "iou_thr": 0.3,
    }


def _labels(n: int) -> Arguments:
    """Labels of one box and of many."""
    labels = np.where(np.arange(n) % 4 == 0, np.arange(n), np.arange(n) % 3)
    return {**_fused("clusters", n), "labels_list": [labels], "iou_thr": 0.9}


FUSION_CLIFFS: dict[str, Cliff] = {
    **{f"weighted_boxes_fusion {place}": partial(_fused, place) for place in PLACES},
    **{
        f"weighted_boxes_fusion {place}, threshold {t:g}": partial(_fused, place, iou_thr=t)
        for place in ("identical", "jittered", "crossing strips", "clusters", "one over all", "jittered, far")
        for t in (0.0, 0.98, 1.0)
    },
    **{
        f"weighted_boxes_fusion {place}, scores {name}": partial(_fused, place, scores=scores)
        for place in ("apart", "row", "jittered", "clusters")
        for name, scores in (("equal", _one), ("zero", np.zeros))
    },
    "weighted_boxes_fusion walkers": _walkers,
    "weighted_boxes_fusion labels": _labels,
    **{
        f"weighted_boxes_fusion one box a model, {conf_type}": partial(_models, conf_type=conf_type)
        for conf_type in ("box_and_model_avg", "absent_model_aware_avg")
    },
    **{f"merge_boxes {place}": partial(_merged, place) for place in PLACES},
    **{
        f"merge_boxes {place}, threshold {t:g}": partial(_merged, place, iou_threshold=t)
        for place in ("identical", "jittered", "crossing strips", "clusters", "one over all", "jittered, far")
        for t in (0.0, 0.98, 1.0)
    },
    **{f"{op} {place}": partial(_grouped, place) for op in ("nmm", "greedy_nmm") for place in PLACES},
    **{
        f"{op} {place}, threshold {t:g}": partial(_grouped, place, iou_threshold=t)
        for op in ("nmm", "greedy_nmm")
        for place in ("identical", "jittered", "crossing strips", "clusters", "one over all", "jittered, far")
        for t in (0.0, 0.98, 1.0)
    },
    **{
        f"{op} {place}, ios": partial(_grouped, place, metric="ios") for op in ("nmm", "greedy_nmm") for place in PLACES
    },
    **{
        f"{op} {place}, ties": partial(_tied, place)
        for op in ("nmm", "greedy_nmm")
        for place in ("identical", "doubles", "row", "jittered", "clusters", "crossing strips")
    },
    "nmm keys": _keyed,
    "greedy_nmm keys": _keyed,
    **{f"merge_boxes {place}, ios": partial(_merged, place, metric="ios") for place in PLACES},
}
