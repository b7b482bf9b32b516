"""Bytes of a detection in `fastdet.distributed`: in files, between the steps, and in a state.

    python bench/distributed.py

The data set has val2017's size (`coco_files.generate`) and scores of six digits; a detector's scores are float32.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parent / "harness"))

import numpy as np
from coco_files import generate

from fastdet.detection import DetectionMetrics
from fastdet.distributed import shards

COUNT = 500_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        truth, detections = generate(Path(folder), COUNT)
        rows = [("COCO JSON", detections.stat().st_size)]
        piece = shards.read_detections(str(detections), 1)[0]
        rows.append(("Parquet", parquet(Path(folder) / "detections.parquet", piece)))
        rows.append(("between reading and matching", sum(x.nbytes for x in piece.rows)))
        of_truth = shards.read_truth(str(truth), 1)
        for name, scores in (("six digits", piece.rows.scores), ("float32", np.float32(piece.rows.scores))):
            rescored = piece._replace(rows=piece.rows._replace(scores=scores.astype(np.float64)))
            metrics = DetectionMetrics()
            metrics.update_columns(*shards.joined(of_truth, [rescored]))
            rows.append((f"kept, scores of {name}", metrics.nbytes))
    print(f"{'':<32}{'bytes':>7}{'a billion, GB':>15}")
    for name, size in rows:
        print(f"{name:<32}{size / COUNT:>7.1f}{size / COUNT:>15.1f}")


def parquet(path: Path, piece: shards.Piece) -> int:
    import pyarrow
    import pyarrow.parquet

    boxes = pyarrow.FixedSizeListArray.from_arrays(piece.rows.boxes.astype(np.float32).ravel(), 4)
    columns = {"image_id": piece.rows.image, "category_id": piece.rows.label, "bbox": boxes}
    pyarrow.parquet.write_table(pyarrow.table({**columns, "score": piece.rows.scores.astype(np.float32)}), path)
    return path.stat().st_size


if __name__ == "__main__":
    main()
