"""Fuzz targets of COCO's JSON with masks and keypoints. Both readers must take or refuse each input."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastdet._core import backends
from fastdet._files import coco, coco_text
from fastdet._files.coco_objects import sizes_of_images
from fastdet._files.errors import Faults, FormatError
from fastdet.coco import COCO
from fastdet.masks import RLE

_RECORD = b'{"image_id": 7, "category_id": 1, "score": 0.5, "id": 3, "bbox": [1, 2, 3, 4], "segmentation": %s}'
_POSE = (
    b'{"image_id": 7, "category_id": 1, "score": 0.5, "id": 4, "keypoints": [1, 2, 2, 3.5, 4, 0], "num_keypoints": 1}'
)
_TEXTS = RLE([[30, 40]] * 2, [100, 50, 1000, 50, 0, 44, 12, 44, 1000, 100], [0, 4, 10]).to_coco()
_FORMS = [
    *(json.dumps({"size": [30, 40], "counts": text["counts"].decode()}).encode() for text in _TEXTS),
    b'{"size": [30, 40], "counts": "%s"}' % b"".join(b"\\u%04x" % c for c in _TEXTS[0]["counts"]),
    b'{"size": [30, 40], "counts": [100, 50, 1000, 50]}', b"[[1, 2, 30.5, 2, 30, 25, 1.5, 25]]",
    b"[[0, 0, 9, 0, 9, 9], [20, 20, 39, 20, 39, 29]]",
]  # fmt: skip
RESULTS = [b"[%s, %s]" % (_RECORD % a, _RECORD % b) for a, b in zip(_FORMS, [*_FORMS[1:], _FORMS[0]], strict=True)]
POSES = [b"[%s, %s]" % (_POSE, _POSE)]
DATA_SETS = [
    b'{"images": [{"id": 7, "width": 40, "height": 30, "neg_category_ids": [1], "crowdIndex": 0.5}], "categories": '
    b'[{"id": 1, "name": "cat", "frequency": "r"}], "annotations": %s}' % records
    for records in (*RESULTS, *POSES)
]  # fmt: skip
_SIZES = np.array([7]), np.array([[40, 30]])


def both(
    kind: str, iou_type: str = "bbox", *, string_ids: bool | None = None, spans: bool = False
) -> Callable[[bytes, Path], object]:
    """By the C++ reader and by Python's; both must take or refuse it. string_ids None: of results."""
    options: dict[str, Any] = {
        "string_ids": kind == "results" if string_ids is None else string_ids, "spans": spans, "iou_type": iou_type,
    }  # fmt: skip
    sized = iou_type != "bbox"

    def one(read: Any, data: bytes) -> bool:
        try:
            read("x.json", io.BytesIO(data))
        except FormatError as error:
            text = str(error)
        else:
            return True
        assert "\n" not in text, text
        return False

    def run(data: bytes, folder: Path) -> object:
        of_python = {**options, "sizes": sizes_of_images(_SIZES) if sized else None}
        python = one(lambda where, file: coco_text.parse(where, file, kind, **of_python), data)
        if backends.native is not None:
            of_cpp = {**options, "sizes": _SIZES if sized else None}
            cpp = one(lambda where, file: coco.parse(where, file, 0, kind, **of_cpp), data)
            assert cpp == python, ("the readers differ", cpp, python)
        return python

    return run


def skipping(data: bytes, folder: Path) -> object:
    """Records that are invalid are left out."""
    options: dict[str, Any] = {"string_ids": True, "spans": True, "iou_type": "segm", "sizes": sizes_of_images(_SIZES)}
    return coco_text.parse("x", io.BytesIO(data), "results", faults=Faults(skip=True), **options)


def loaded(data: bytes, folder: Path) -> object:
    """By `COCO.loadRes`, and as masks."""
    truth = COCO({"images": [{"id": 7, "width": 40, "height": 30}], "categories": [{"id": 1}], "annotations": []})
    (folder / "dt.json").write_bytes(data)
    results = truth.loadRes(folder / "dt.json")
    found = results._columns([7], "segm")
    small = found.masks is not None and found.masks.sizes.prod(axis=1).max(initial=0) <= 1200
    return found, [results.annToMask(a) for a in results.dataset["annotations"]] if small else []
