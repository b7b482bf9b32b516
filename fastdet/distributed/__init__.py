"""Scoring detections past one machine.

`evaluate` scores a data set of shards on a Ray cluster (``pip install "fastdet[ray]"``). Processes of
torch.distributed join their states by `DetectionMetrics.sync`. Any other engine carries states as bytes:

```python
from concurrent.futures import ProcessPoolExecutor
from fastdet.detection import DetectionMetrics
from fastdet.distributed import score


def work(shard: tuple[str, str]) -> bytes:      # on any machine: true boxes and detections of some of the images
    return score(*shard).to_bytes()


with ProcessPoolExecutor() as pool:
    states = pool.map(work, [("truth-0.json", "found-0.json"), ("truth-1.json", "found-1.json")])
    merged = sum(map(DetectionMetrics.from_bytes, states))
merged.compute()["map"]
```

The results equal those of one machine bit for bit, in whatever order states come. An engine that runs a piece of work
again takes one of its states: merging both raises, because their images are the same.

Shards are files that every machine can read at the same path: COCO's JSON (``.json``, ``.json.gz``), or Parquet with
one row for each box. Its columns are ``image_id``, ``category_id``, ``bbox`` (x, y, width, height), of detections
``score``, and of true boxes, where wanted, ``area``, ``iscrowd`` and ``difficult``; a true row whose ``category_id``
and ``bbox`` are null names an image without true boxes.
"""

from fastdet.distributed.scoring import evaluate, score

__all__ = ["evaluate", "score"]
