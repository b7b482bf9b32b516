"""Numba kernels of region proposals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core.check import Array, cast
from fastdet._core.numba_elementary import exp_or_zero, log_positive
from fastdet._core.numba_jit import Indices, jit, plain, typed
from fastdet.nms._numba import nms
from fastdet.proposals.coder import MAX_LOG_RATIO
from fastdet.proposals.generate import nan_in_scores

Weights = tuple[float, float, float, float]


def encode_boxes(boxes: Array, anchors: Array, weights: Weights) -> Array | int:
    out = np.empty_like(boxes)
    four = np.array(weights, boxes.dtype)
    wrong: int = _encode(plain(boxes), plain(anchors), four, boxes.dtype.type(0.5), np.finfo(boxes.dtype).max, out)
    return out if wrong < 0 else int(wrong)


@jit
def _encode(boxes: Array, anchors: Array, weights: Array, half: Any, largest: Any, out: Array) -> int:
    for i in range(len(boxes)):
        x1, y1, x2, y2 = boxes[i]
        ax1, ay1, ax2, ay2 = anchors[i]
        if not (x1 == x1 and y1 == y1 and x2 == x2 and y2 == y2):
            return 2 * i
        width, height = ax2 - ax1, ay2 - ay1
        if not (width > 0 and height > 0 and width <= largest and height <= largest):
            return 2 * i + 1
        wide, high = x2 - x1, y2 - y1
        out[i, 0] = weights[0] * ((x1 + half * wide) - (ax1 + half * width)) / width
        out[i, 1] = weights[1] * ((y1 + half * high) - (ay1 + half * height)) / height
        out[i, 2] = weights[2] * log_positive(wide / width)
        out[i, 3] = weights[3] * log_positive(high / height)
    return -1


def decode_boxes(deltas: Array, anchors: Array, weights: Weights, max_log_ratio: float) -> Array | int:
    for in_anchors, x in enumerate((deltas, anchors)):
        row: int = _first_nan(plain(x))
        if row >= 0:
            return 2 * int(row) + in_anchors
    out = np.empty_like(deltas)
    coding = _decoding(deltas.dtype, weights, max_log_ratio)
    _decode(plain(deltas), plain(anchors), *coding, out)
    return out


def _decoding(dtype: np.dtype[Any], weights: Weights, max_log_ratio: float) -> tuple[Array, Any, Any]:
    return np.array(weights, dtype), typed(dtype, max_log_ratio), dtype.type(0.5)


@jit
def _first_nan(x: Array) -> int:
    for i in range(len(x)):
        for k in range(4):
            if x[i, k] != x[i, k]:
                return i
    return -1


@jit
def _decode(deltas: Array, anchors: Array, weights: Array, limit: Any, half: Any, out: Array) -> None:
    classes = len(deltas) // max(len(anchors), 1)
    for i in range(len(deltas)):
        x1, y1, x2, y2 = anchors[i // classes]
        width, height = x2 - x1, y2 - y1
        dx, dy = deltas[i, 0] / weights[0], deltas[i, 1] / weights[1]
        dw, dh = deltas[i, 2] / weights[2], deltas[i, 3] / weights[3]
        cx, cy = dx * width + (x1 + half * width), dy * height + (y1 + half * height)
        half_w = half * (exp_or_zero(limit if dw > limit else dw) * width)
        half_h = half * (exp_or_zero(limit if dh > limit else dh) * height)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = cx - half_w, cy - half_h, cx + half_w, cy + half_h


def match_boxes(iou: Array, high: float, low: float, allow_low_quality: bool) -> Indices | int:
    matches = np.empty(iou.shape[1], np.int64)
    nan: int = _match(plain(iou), cast(iou.dtype, high), cast(iou.dtype, low), allow_low_quality, matches)
    return matches if nan < 0 else int(nan)


@jit
def _match(iou: Array, high: Any, low: Any, allow_low_quality: bool, matches: Indices) -> int:
    rows, columns = iou.shape
    matches[:] = -1
    if rows == 0 or columns == 0:
        return -1
    most, best = iou[0].copy(), np.zeros(columns, np.int64)
    for i in range(rows):
        for j in range(columns):
            value = iou[i, j]
            if value != value:
                return i * columns + j
            if value > most[j]:
                most[j], best[j] = value, i
    for j in range(columns):
        matches[j] = -1 if most[j] < low else -2 if most[j] < high else best[j]
    if allow_low_quality:
        for i in range(rows):
            top = iou[i].max()
            for j in range(columns):
                if iou[i, j] == top:
                    matches[j] = best[j]
    return -1


def sample_balanced(labels: Indices, count: int, max_positive: int, seed: int) -> tuple[Indices, Indices]:
    positive, negative = _split(plain(labels))
    positive = _sample(positive, max_positive, np.uint64(seed))
    return positive, _sample(negative, count - len(positive), np.uint64(seed))


@jit
def _split(labels: Indices) -> tuple[Indices, Indices]:
    positive, negative = np.empty(len(labels), np.int64), np.empty(len(labels), np.int64)
    p, n = 0, 0
    for i in range(len(labels)):
        if labels[i] > 0:
            positive[p] = i
            p += 1
        elif labels[i] == 0:
            negative[n] = i
            n += 1
    return positive[:p].copy(), negative[:n].copy()


@jit
def _numbers(candidates: Indices, seed: np.uint64) -> NDArray[np.uint64]:
    out = np.empty(len(candidates), np.uint64)
    for i in range(len(candidates)):
        z = seed + (np.uint64(candidates[i]) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out[i] = z ^ (z >> np.uint64(31))
    return out


def _sample(candidates: Indices, count: int, seed: np.uint64) -> Indices:
    if count >= len(candidates):
        return candidates
    chosen = np.argpartition(_numbers(candidates, seed), count)[:count] if count else np.zeros(0, np.int64)
    return np.sort(candidates[chosen])


def generate_proposals(
    scores: list[Array],
    deltas: list[Array],
    anchors: list[Array],
    image_sizes: NDArray[np.float64],
    pre_nms_top_n: int,
    post_nms_top_n: int,
    iou_threshold: float,
    min_size: float,
    score_threshold: float,
) -> tuple[Array, Array, Indices] | int:
    if (code := nan_in_scores(scores)) is not None:
        return code
    dtype, images = scores[0].dtype, len(scores[0])
    boxes, values = np.zeros((images, post_nms_top_n, 4), dtype), np.zeros((images, post_nms_top_n), dtype)
    counts, wrong = np.zeros(images, np.int64), -1
    coding = _decoding(dtype, (1.0, 1.0, 1.0, 1.0), MAX_LOG_RATIO)
    rule = typed(dtype, min_size), typed(dtype, score_threshold)
    total = sum(min(pre_nms_top_n, x.shape[1]) for x in scores)
    for image in range(images):
        size = np.array([cast(dtype, side) for side in image_sizes[image]], dtype)
        box, score, key = np.empty((total, 4), dtype), np.empty(total, dtype), np.empty(total, np.int64)
        at = first = 0
        for level, (s, d, a) in enumerate(zip(scores, deltas, anchors, strict=True)):
            top = _top(s[image], pre_nms_top_n)
            place = first + image * s.shape[1]
            at, found = _survivors(
                s[image], d[image], plain(a), top, place, level, size, *rule, coding, at, box, score, key
            )
            wrong = found if wrong < 0 or 0 <= found < wrong else wrong
            first += s.size
        if wrong >= 0:
            continue
        keep: Any = nms(box[:at], score[:at], key[:at], iou_threshold, None, post_nms_top_n, "iou")
        counts[image] = len(keep)
        boxes[image, : len(keep)], values[image, : len(keep)] = box[keep], score[keep]
    return int(wrong) if wrong >= 0 else (boxes, values, counts)


def _top(scores: Array, count: int) -> Indices:
    """Indices of the ``count`` highest scores, by falling score; equal ones: lower index first."""
    falling = -scores
    if count >= len(scores):
        return np.argsort(falling, kind="stable")
    limit = np.partition(falling, count - 1)[count - 1]
    among = np.flatnonzero(falling <= limit)
    return among[np.argsort(falling[among], kind="stable")][:count]


@jit
def _survivors(
    logits: Array,
    deltas: Array,
    anchors: Array,
    top: Indices,
    place: int,
    level: int,
    size: Array,
    min_size: Any,
    score_threshold: Any,
    coding: Any,
    at: int,
    boxes: Array,
    scores: Array,
    keys: Indices,
) -> tuple[int, int]:
    """Decode, clip and filter the top of a level; where the next one goes, and the code of a NaN or -1."""
    weights, limit, half = coding
    zero, wrong = half - half, -1
    one = half + half
    box = np.empty((1, 4), boxes.dtype)
    for index in top:
        code = -1
        for k in range(4):
            if code < 0 and deltas[index, k] != deltas[index, k]:
                code = 3 * (place + index) + 1
        for k in range(4):
            if code < 0 and anchors[index, k] != anchors[index, k]:
                code = 3 * (place + index) + 2
        if code >= 0:
            wrong = code if wrong < 0 or code < wrong else wrong
            continue
        _decode(deltas[index : index + 1], anchors[index : index + 1], weights, limit, half, box)
        for k in range(4):
            edge, x = size[1 - k % 2], box[0, k]
            low = zero if x <= zero else x
            box[0, k] = edge if low > edge else low
        logit = logits[index]
        e = exp_or_zero(-abs(logit))
        score = (one if logit >= zero else e) / (one + e)
        wide, high = box[0, 2] - box[0, 0], box[0, 3] - box[0, 1]
        if wide >= min_size and high >= min_size and score >= score_threshold:
            boxes[at], scores[at], keys[at] = box[0], score, level
            at += 1
    return at, wrong
