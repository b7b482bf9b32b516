"""Small data sets in several forms, and detections that are right: for the tests of `fastdet evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SIDE = 100
BOXES = [(15 * i + 1, 20, 15 * i + 13, 60) for i in range(6)]  # x1 y1 x2 y2; no two overlap by half
WORDS = ["cat", "dog", "fox"]
ONE = pytest.approx(1, abs=1e-12)


def coco(
    path: Path, names: list[str], *, first: int = 1, kinds: dict[int, str] | None = None, **more: Any
) -> list[dict[str, Any]]:
    """Write a data set with a box of each class in each image. Returns detections that are right."""
    kinds = {1: "cat", 2: "dog", 3: "fox"} if kinds is None else kinds
    images = [{"id": i, "file_name": name, "width": SIDE, "height": SIDE} for i, name in enumerate(names, first)]
    boxes = [
        {"image_id": image["id"], "category_id": k, "bbox": [x1, y1 + 20 * (image["id"] % 7), x2 - x1, y2 - y1]}
        for image in images
        for k, (x1, y1, x2, y2) in zip([k for k in kinds if k or len(kinds) < 4], BOXES, strict=False)
    ]
    truth = [{**box, "id": i} for i, box in enumerate(boxes)]
    categories = [{"id": k, "name": name} for k, name in kinds.items()]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": truth, **more}))
    return [{**box, "score": 0.9} for box in boxes]


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def yolo_folder(folder: Path, names: list[str], *, scores: bool = False) -> Path:
    """A box of class i % 3 in each image, each at another place."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        x = 0.2 + 0.05 * i
        write(folder / f"{name}.txt", f"{i % 3} {x} 0.5 0.3 0.4" + (" 0.9" if scores else ""))
    return folder


def yolo_results(names: list[str], ids: list[Any], *, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"image_id": ids[i], "category_id": i % 3 + first, "bbox": [100 * (0.05 + 0.05 * i), 30, 30, 40], "score": 0.9}
        for i in range(len(names))
    ]


def voc_folder(folder: Path, names: list[str], extra: str = "", form: str = "{}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        box = f"<xmin>{10 + i}</xmin><ymin>20</ymin><xmax>{49 + i}</xmax><ymax>59</ymax>"
        item = f"<object><name>{WORDS[i % 3]}</name>{extra}<bndbox>{box}</bndbox></object>"
        write(folder / f"{name}.xml", form.format(f"<annotation>{item}</annotation>"))
    return folder


def voc_results(ids: list[Any], label: Any = None) -> list[dict[str, Any]]:
    return [
        {"image_id": i, "category_id": n % 3 if label is None else label(n), "bbox": [10 + n, 20, 39, 39], "score": 0.9}
        for n, i in enumerate(ids)
    ]


SIZE = ("--image-size", f"{SIDE}x{SIDE}")
