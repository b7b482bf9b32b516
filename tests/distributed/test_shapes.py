"""Shards of masks and keypoints, in JSON and Parquet: equal bit for bit to one file, in a process and on a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_shapes import mask_data, pose_data
from optional import need
from ray_cluster import local_ray

from fastdet import masks
from fastdet.coco import COCO, COCOeval, FormatError
from fastdet.distributed import evaluate, score

Json = dict[str, Any]
KINDS = [(mask_data, "segm"), (mask_data, "boundary"), (mask_data, ("bbox", "segm")), (pose_data, "keypoints")]


class Shards:
    """Several data sets of `make` as one, in shards: true objects by image, detections anyhow."""

    def __init__(self, folder: Path, make: Any) -> None:
        self.folder = folder
        self.data: Json = {"images": [], "annotations": [], "categories": []}
        self.results: list[Json] = []
        r = np.random.default_rng(3)
        for k in range(8):
            data, results = make(r)
            for record in (*data["annotations"], *results):
                record["image_id"] += 10 * k
            for image in data["images"]:
                image["id"] += 10 * k
            for annotation in data["annotations"]:
                annotation["id"] += 100 * k
            self.data["images"] += data["images"]
            self.data["annotations"] += data["annotations"]
            self.data["categories"] = data["categories"]
            self.results += results
        for record in self.results:  # all alike, as loadRes wants them
            record.pop("bbox", None)
        for name in ("truth", "found"):
            (folder / name).mkdir()
        for part in range(3):
            mine = [image for image in self.data["images"] if image["id"] % 3 == part]
            ids = {image["id"] for image in mine}
            some = [a for a in self.data["annotations"] if a["image_id"] in ids]
            self._write(f"truth/{part}.json", {**self.data, "images": mine, "annotations": some})
            n = len(self.results)
            self._write(f"found/{part}.json", self.results[n * part // 3 : n * (part + 1) // 3])
        self._write("truth.json", self.data)
        self._write("found.json", self.results)

    def _write(self, name: str, content: Any) -> None:
        (self.folder / name).write_text(json.dumps(content, default=lambda x: x.decode()))

    def parquet(self, field: str) -> tuple[Path, Path]:
        pyarrow, parquet = need("pyarrow"), need("pyarrow.parquet")
        size = {image["id"]: (image["height"], image["width"]) for image in self.data["images"]}

        def value(record: Json) -> Any:
            shape = record.get(field)
            if field == "segmentation" and isinstance(shape, list):
                shape = masks.from_polygons([shape], size[record["image_id"]]).to_coco()[0]
            elif field == "segmentation" and shape is not None:
                shape = masks.RLE.from_coco(shape).to_coco()[0]
            return shape

        with_objects = {a["image_id"] for a in self.data["annotations"]}
        empty = [{"image_id": i["id"]} for i in self.data["images"] if i["id"] not in with_objects]
        paths = []
        for name, rows, keys in (
            ("truth", [*self.data["annotations"], *empty], ("bbox", "area", "iscrowd")),
            ("found", self.results, ("score",)),
        ):
            columns: Json = {key: [row.get(key) for row in rows] for key in ("image_id", "category_id", *keys)}
            table = pyarrow.table({**columns, field: [value(row) for row in rows]})
            paths.append(self.folder / f"{name}.parquet")
            parquet.write_table(table, paths[-1], row_group_size=7)
        return paths[0], paths[1]


@pytest.mark.parametrize(("make", "kind"), KINDS, ids=["segm", "boundary", "both", "keypoints"])
def test_shards_are_one_data_set(make: Any, kind: Any, tmp_path: Path) -> None:
    shards = Shards(tmp_path, make)
    state = score(tmp_path / "truth", tmp_path / "found", iou_type=kind)
    assert state.to_bytes() == score(tmp_path / "truth.json", tmp_path / "found.json", iou_type=kind).to_bytes()
    field = "keypoints" if kind == "keypoints" else "segmentation"
    assert score(*shards.parquet(field), iou_type=kind).to_bytes() == state.to_bytes()
    if isinstance(kind, str):
        truth = COCO(tmp_path / "truth.json")
        found = COCOeval(truth, truth.loadRes(tmp_path / "found.json"), kind)
        found.evaluate()
        found.accumulate()
        found.summarize()
        assert state.compute()["map"] == found.stats[0]
        assert 0 < found.stats[0] < 1


def test_a_cluster_equals_one_process(tmp_path: Path) -> None:
    shards = []
    for kind, make in (("masks", mask_data), ("poses", pose_data)):
        (tmp_path / kind).mkdir()
        shards.append(Shards(tmp_path / kind, make))
    with local_ray():
        for one, kind in ((shards[0], ("bbox", "segm")), (shards[1], "keypoints")):
            want = score(one.folder / "truth", one.folder / "found", iou_type=kind).compute()
            got = evaluate(one.folder / "truth", one.folder / "found", iou_type=kind, partitions=2)
            assert got.keys() == want.keys()
            for key in want:
                np.testing.assert_array_equal(got[key], want[key])


def test_what_is_wrong(tmp_path: Path) -> None:
    pyarrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    Shards(tmp_path, mask_data)
    (tmp_path / "k").mkdir()
    Shards(tmp_path / "k", pose_data)
    row = {"image_id": [3], "category_id": [1], "score": [0.5]}

    def refused(columns: Json, kind: str) -> str:
        parquet.write_table(pyarrow.table({**row, **columns}), tmp_path / "x.parquet")
        with pytest.raises(FormatError) as error:
            score(tmp_path / "truth.json" if kind == "segm" else tmp_path / "k/truth.json", tmp_path / "x.parquet",
                  iou_type=kind)  # fmt: skip
        return str(error.value).removeprefix(f"{tmp_path / 'x.parquet'}: ")

    assert refused({"segmentation": [{"size": [4, 5], "counts": "52"}]}, "segm") == (
        "row 0: segmentation: counts must sum to 4 * 5 = 20, got 7"
    )
    assert refused({"segmentation": [{"size": [4, 5], "counts": "5\x07"}]}, "segm").startswith(
        "row 0: segmentation: counts: expected characters from '0' to 'o'"
    )
    assert refused({"segmentation": [3]}, "segm") == "segmentation: expected structs of size and counts, got int64"
    assert refused({"keypoints": [[1.0, 2.0]]}, "keypoints") == (
        "row 0: keypoints: expected x, y and visibility of each point, got 2 numbers"
    )
    assert refused({}, "segm").startswith("expected a column 'segmentation', got [")
    with pytest.raises(ValueError, match="evaluate: rule must be 'coco' or 'voc' on a cluster, got 'lvis'"):
        evaluate(tmp_path / "truth", tmp_path / "found", rule="lvis")
