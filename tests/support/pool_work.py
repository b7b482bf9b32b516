"""Work for other processes and threads, in a module that a spawned process can import."""

from __future__ import annotations

from pathlib import Path

from samples import sample

from fastdet import boxes, nms
from fastdet.distributed import score


def work() -> tuple[int, ...]:
    """Enough work to use the pool. Returns hashes of three results, which are the same in a forked child."""
    data = sample("clustered", 4000)
    keep = nms.nms(data.boxes, data.scores, 0.5, backend="cpp")
    iou = boxes.box_iou(data.boxes[:1500], data.boxes2, backend="cpp")
    many = nms.batched_nms(data.boxes, data.scores, data.idxs, 0.5, backend="cpp")
    return tuple(hash(x.tobytes()) for x in (keep, many, iou))


def same_keep() -> list[int]:
    """As `work`, but returns a result: a spawned process hashes in another way."""
    data = sample("clustered", 4000)
    boxes.box_iou(data.boxes[:1500], data.boxes2, backend="cpp")
    return nms.nms(data.boxes, data.scores, 0.5, backend="cpp").tolist()


def score_shard(shard: tuple[Path, Path]) -> bytes:
    """The state of one shard: its true boxes and its detections."""
    return score(*shard).to_bytes()
