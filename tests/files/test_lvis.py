"""What LVIS's and CrowdPose's rules need of images and categories, in both readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import real_data

from fastdet._files.coco import coco_content, read_coco
from fastdet._files.errors import FormatError
from fastdet.coco import COCO


def write(path: Path, images: list[Any], categories: list[Any]) -> Path:
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    return path


@pytest.mark.usefixtures("reader")
def test_what_images_were_searched_for(tmp_path: Path) -> None:
    images = [
        {"id": 7, "neg_category_ids": [3, 1.0], "not_exhaustive_category_ids": []},
        {"not_exhaustive_category_ids": [2], "neg_category_ids": None, "id": 5},
        {"id": 9, "crowdIndex": 0.25},
        {"neg_category_ids": [4], "id": -8, "crowdIndex": "0.5"},
    ]
    categories = [{"id": 1, "frequency": "r"}, {"id": 2}, {"id": 3, "frequency": "f"}, {"id": 4, "frequency": "rare"}]
    for kind in ("data set", "names"):
        content = coco_content(write(tmp_path / "a.json", images, categories), kind)
        assert content.federated is not None
        assert content.federated.negative.tolist() == [[7, 3], [7, 1], [-8, 4]]
        assert content.federated.not_exhaustive.tolist() == [[5, 2]]
        assert content.frequencies == ["r", "", "f", ""]
        assert np.array_equal(content.crowding, [np.nan, np.nan, 0.25, np.nan], equal_nan=True)
    content = coco_content(write(tmp_path / "a.json", [{"id": 1}], [{"id": 1, "frequency": 3}]), "data set")
    assert content.federated is None
    assert (list(content.frequencies), len(content.crowding)) == ([], 0)
    content = coco_content(write(tmp_path / "a.json", [{"id": 1, "neg_category_ids": []}], []), "data set")
    assert content.federated is not None
    assert [pairs.shape for pairs in content.federated] == [(0, 2), (0, 2)]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("key", ["neg_category_ids", "not_exhaustive_category_ids"])
def test_wrong_lists(tmp_path: Path, key: str) -> None:
    for value, got in ((5, "5"), ("x", '"x"'), ([1, "2"], '"2"'), ([1.5], "1.5"), ([None], "null"), ({}, "an object")):
        path = write(tmp_path / "a.json", [{"id": 1}, {"id": 2, key: value}], [])
        with pytest.raises(FormatError) as caught:
            read_coco(path)
        assert str(caught.value) == f"{path}: images[1].{key}: expected a list of integers, got {got}"


@pytest.mark.usefixtures("reader")
def test_real_files() -> None:
    path = real_data("lvis_val_100", "lvis_val_100.json")
    data, tree = read_coco(path), json.loads(path.read_text())
    assert data.federated is not None
    for name, pairs in zip(("neg_category_ids", "not_exhaustive_category_ids"), data.federated, strict=True):
        assert pairs.tolist() == [[image["id"], k] for image in tree["images"] for k in image[name]]
        assert len(pairs)
    assert list(data.frequencies) == [category["frequency"] for category in tree["categories"]]
    assert set(data.frequencies) == {"r", "c", "f"}
    assert COCO(str(path)).dataset["images"][0]["neg_category_ids"] == tree["images"][0]["neg_category_ids"]
    path = real_data("crowdpose_sample", "example_crowdpose_val.json")
    data = read_coco(path, iou_type="keypoints")
    assert data.crowding.tolist() == [image["crowdIndex"] for image in json.loads(path.read_text())["images"]]
    assert data.federated is None
