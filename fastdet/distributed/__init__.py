"""Scoring detections on several machines.

`evaluate` scores a data set of shards on a Ray cluster (``pip install "fastdet[ray]"``). Processes of
torch.distributed join their states by `DetectionMetrics.sync`. Any other engine carries states as bytes:

```python
from concurrent.futures import ProcessPoolExecutor
from fastdet.detection import DetectionMetrics
from fastdet.distributed import score


def work(shard: tuple[str, str]) -> bytes:      # on any machine, for some of the images
    return score(*shard).to_bytes()


with ProcessPoolExecutor() as pool:
    states = pool.map(work, [("truth-0.json", "found-0.json"), ("truth-1.json", "found-1.json")])
    merged = sum(map(DetectionMetrics.from_bytes, states))
merged.compute()["map"]
```

The results equal those of one machine bit for bit, whatever the order of states. An engine that runs a piece of work
twice must use one of the two states: merging both raises, because they have the same images.

Shards are files that every machine can read at the same path: COCO's JSON (``.json``, ``.json.gz``), or Parquet with
one row for each box. Its columns are ``image_id``, ``category_id`` and ``bbox`` (x, y, width, height); detections also
have ``score``, and true boxes may have ``area``, ``iscrowd`` and ``difficult``. A row of true boxes whose
``category_id`` and ``bbox`` are null names an image without true boxes.
"""

from fastdet.distributed.scoring import evaluate, score

__all__ = ["evaluate", "score"]
