"""Calls that use the thread pool; in a module that a process that was spawned can import."""

from __future__ import annotations

from samples import sample

from fastdet import boxes, nms


def work() -> tuple[int, ...]:
    """Enough for the pool to be used; hashes of three results, the same in a forked child."""
    given = sample("clustered", 4000)
    keep = nms.nms(given.boxes, given.scores, 0.5, backend="cpp")
    iou = boxes.box_iou(given.boxes[:1500], given.boxes2, backend="cpp")
    many = nms.batched_nms(given.boxes, given.scores, given.idxs, 0.5, backend="cpp")
    return tuple(hash(x.tobytes()) for x in (keep, many, iou))


def same_keep() -> list[int]:
    """As `work`, for processes that hash in another way."""
    given = sample("clustered", 4000)
    boxes.box_iou(given.boxes[:1500], given.boxes2, backend="cpp")
    return nms.nms(given.boxes, given.scores, 0.5, backend="cpp").tolist()
