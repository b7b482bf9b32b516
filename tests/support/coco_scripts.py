"""Scripts that run on fastdet.coco and on pycocotools alike, with invented data, and what they must agree on."""

from __future__ import annotations

import contextlib
import io
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from optional import need

import fastdet.coco

Json = dict[str, Any]
Script = Callable[[Any, Json, list[Json]], Any]


def invented(seed: int = 3) -> tuple[Json, list[Json]]:
    """Boxes of three classes on twelve images, with crowds, ties and the `ignore` of some annotations."""
    rng = np.random.default_rng(seed)
    gt: Json = {
        "images": [{"id": i, "width": 200, "height": 200} for i in range(1, 13)],
        "categories": [{"id": k, "name": f"class {k}"} for k in (2, 5, 9)],
        "annotations": [],
    }
    results = []
    for n in range(60):
        x, y, w, h = (float(v) for v in (*rng.integers(0, 100, 2), *rng.integers(8, 110, 2)))
        record = {"id": n + 1, "image_id": int(rng.integers(1, 12)), "category_id": int(rng.choice([2, 5, 9]))}
        more = {"iscrowd": int(rng.random() < 0.1), "area": w * h, "ignore": int(rng.random() < 0.3)}
        gt["annotations"].append({**record, "bbox": [x, y, w, h], **more})
        for _ in range(int(rng.integers(0, 4))):
            box = [x + float(rng.integers(-6, 7)), y, w, h + float(rng.integers(0, 9))]
            results.append({
                "image_id": record["image_id"], "category_id": record["category_id"], "bbox": box,
                "score": float(rng.integers(1, 20)) / 20,
            })  # fmt: skip
    return gt, results


def truth(api: Any, gt: Json) -> Any:
    """A data set of either package."""
    coco = api.COCO()
    coco.dataset = gt
    coco.createIndex()
    return coco


def scored(evaluation: Any) -> Any:
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def quick(api: Any, gt: Json, results: list[Json]) -> Any:
    coco = truth(api, gt)
    return scored(api.COCOeval(coco, coco.loadRes(results), "bbox"))


def both(script: Script) -> tuple[Any, Any]:
    """What a script returns on fastdet and on pycocotools, each with data of its own."""
    need("pycocotools.cocoeval")
    from pycocotools.coco import COCO as TheirCOCO
    from pycocotools.cocoeval import COCOeval as TheirCOCOeval
    from pycocotools.cocoeval import Params as TheirParams

    theirs = types.SimpleNamespace(COCO=TheirCOCO, COCOeval=TheirCOCOeval, Params=TheirParams)
    answers = []
    for api in (fastdet.coco, theirs):
        with contextlib.redirect_stdout(io.StringIO()):
            answers.append(script(api, *invented()))
    return answers[0], answers[1]


def assert_same(script: Script, *, differs: bool = True) -> None:
    """Equal cells on both packages; ``differs``: not those of a script without the change."""
    ours, theirs = both(script)
    for key in ("precision", "recall", "scores"):
        assert np.array_equal(ours.eval[key], theirs.eval[key]), key
    assert np.array_equal(ours.stats, theirs.stats)
    if differs:
        plain, _ = both(quick)
        assert not np.array_equal(ours.stats, plain.stats)
