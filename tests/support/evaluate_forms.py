"""One small data set in every form that `fastdet evaluate` reads, and the command on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastdet.cli.app import main

Capture = pytest.CaptureFixture[str]


def shown(capsys: Capture, *arguments: object) -> tuple[str, str]:
    """What is printed on stdout and stderr."""
    code = main(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out, err


def scored(capsys: Capture, *arguments: object) -> dict[str, Any]:
    """The one JSON object; NaN and infinity are no JSON."""
    out, err = shown(capsys, *arguments, "--json")
    assert err == ""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    report: dict[str, Any] = json.loads(out, parse_constant=refuse)
    return report


def fails(capsys: Capture, *arguments: object) -> str:
    """The one line of an error; nothing is printed on stdout."""
    assert main(["evaluate", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastdet: ")
    assert err.count("\n") == 1
    return err[len("fastdet: ") : -1]


# ---------------------------------------------------------------------------------- one data set in every form
NAMES = ["cat", "dog", "traffic light"]
WIDTH, HEIGHT = 256, 128


def boxes() -> tuple[list[Any], list[Any]]:
    """True boxes (image, class, x1, y1, x2, y2) and detections (..., score), at even pixels so that all forms agree."""
    rng = np.random.default_rng(11)
    truth, detections = [], []
    for image in range(12):
        for _ in range(int(rng.integers(0, 5))):
            x, y, w, h = (2 * int(v) for v in (*rng.integers(0, 30, 2), *rng.integers(2, 30, 2)))
            category = int(rng.integers(3))
            truth.append((image, category, x, y, x + w, y + h))
            for _ in range(int(rng.integers(0, 4))):
                step = 2 * int(rng.integers(-2, 3))
                detections.append((image, category, max(x + step, 0), y, x + w, y + h, int(rng.integers(1, 60)) / 64))
    return truth, detections


def name(image: int) -> str:
    return f"photo.{image:02d}"  # with a dot, as exported names often have


def coco(folder: Path) -> tuple[Path, Path]:
    truth, detections = boxes()
    gt = {
        "images": [{"id": i + 5, "file_name": f"{name(i)}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(12)],
        "categories": [{"id": 10 * k + 1, "name": word} for k, word in enumerate(NAMES)],
        "annotations": [
            {"id": n, "image_id": i + 5, "category_id": 10 * k + 1, "bbox": [x, y, x2 - x, y2 - y]}
            for n, (i, k, x, y, x2, y2) in enumerate(truth)
        ],
    }
    results = [
        {"image_id": i + 5, "category_id": 10 * k + 1, "bbox": [x, y, x2 - x, y2 - y], "score": s}
        for i, k, x, y, x2, y2, s in detections
    ]
    paths = folder / "gt.json", folder / "dt.json"
    for path, content in zip(paths, (gt, results), strict=True):
        path.write_text(json.dumps(content))
    return paths


def folders(folder: Path, suffix: str) -> tuple[Path, Path]:
    paths = folder / "labels", folder / "found"
    for path in paths:
        path.mkdir()
        for i in range(12):
            (path / f"{name(i)}{suffix if path is paths[0] else '.txt'}").touch()
    return paths


def add(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def txt(folder: Path) -> tuple[Path, Path]:
    paths = folders(folder, ".txt")
    truth, detections = boxes()
    for i, k, *box in truth:
        add(paths[0] / f"{name(i)}.txt", f"{NAMES[k]} {' '.join(map(str, box))}")
    for i, k, *box, s in detections:
        add(paths[1] / f"{name(i)}.txt", f"{NAMES[k]} {s} {' '.join(map(str, box))}")
    return paths


def voc(folder: Path) -> tuple[Path, Path]:
    """XML, and VOC's own results: a file for each class."""
    paths = folders(folder, ".xml")
    truth, detections = boxes()
    for i in range(12):
        objects = "".join(
            f"<object><name>{NAMES[k]}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            "</bndbox></object>"
            for image, k, x, y, x2, y2 in truth
            if image == i
        )
        (paths[0] / f"{name(i)}.xml").write_text(f"<annotation>{objects}</annotation>")
        (paths[1] / f"{name(i)}.txt").unlink()
    for k, word in enumerate(NAMES):
        lines = [f"{name(i)} {s} {x} {y} {x2} {y2}" for i, category, x, y, x2, y2, s in detections if category == k]
        (paths[1] / f"comp4_det_test_{word}.txt").write_text("\n".join(lines))
    return paths


RESULT = {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
