"""COCO's panoptic files, drawn with a seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from miou_files import png
from panoptic_maps import CATEGORIES, Side, colours, image

Images = list[tuple[Side, Side]]


def records(sides: list[Side]) -> list[dict[str, Any]]:
    return [
        {"image_id": 7 + i, "file_name": f"im{i}.png", "segments_info": [dict(x) for x in side["segments_info"]]}
        for i, side in enumerate(sides)
    ]


def write(path: Path, sides: list[Side], **more: Any) -> Path:
    """A JSON file, and a folder of its name with a PNG for each map."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True)
    for i, side in enumerate(sides):
        (folder / f"im{i}.png").write_bytes(png(colours(side["segmentation"]), kind=2))
    path.write_text(json.dumps({"annotations": records(sides), **more}))
    return path


def data_set(folder: Path, count: int = 5) -> tuple[Path, Path, Images]:
    """The true file, the predicted one, and the images that they hold."""
    images = [image(seed) for seed in range(count)]
    truth = write(folder / "truth.json", [target for _, target in images], categories=CATEGORIES)
    return truth, write(folder / "guess.json", [prediction for prediction, _ in images]), images
