"""Scripts written for pycocotools: each runs on it and on `fastdet.coco.init_as_pycocotools`, and gives the same.

Their shapes are those of torchvision's references (image by image, states joined by hand) and of detectron2 (a file,
chosen images and classes, results of each class); the code is our own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need, real_data

# Evaluates batch by batch, as ranks of a distributed run do, and joins evalImgs.
TORCHVISION = """
import contextlib, copy, io, json, sys
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
import pycocotools.mask as mask_util


class Evaluator:
    def __init__(self, gt, kinds):
        self.gt = copy.deepcopy(gt)
        self.kinds = kinds
        self.evals = {kind: COCOeval(gt, iouType=kind) for kind in kinds}
        self.images, self.parts = [], {kind: [] for kind in kinds}

    def update(self, predictions):
        ids = list(np.unique(list(predictions.keys())))
        self.images.extend(ids)
        for kind in self.kinds:
            results = [d for i in predictions for d in predictions[i]]
            with contextlib.redirect_stdout(io.StringIO()):
                dt = COCO.loadRes(self.gt, results) if results else COCO()
                one = self.evals[kind]
                one.cocoDt = dt
                one.params.imgIds = list(ids)
                one.evaluate()
            p = one.params
            self.parts[kind].append(np.asarray(one.evalImgs).reshape(-1, len(p.areaRng), len(p.imgIds)))

    def join(self):
        for kind in self.kinds:
            ids, at = np.unique(np.array(self.images), return_index=True)
            parts = np.concatenate(self.parts[kind], axis=2)[..., at]
            one = self.evals[kind]
            one.evalImgs = list(parts.flatten())
            one.params.imgIds = list(ids)
            one._paramsEval = copy.deepcopy(one.params)

    def summarize(self):
        for one in self.evals.values():
            one.accumulate()
            one.summarize()


with contextlib.redirect_stdout(io.StringIO()):
    gt = COCO(sys.argv[1])
results = json.load(open(sys.argv[2]))
images = gt.getImgIds()
evaluator = Evaluator(gt, ["bbox"])
for first in range(0, len(images), 7):
    batch = images[first : first + 7]
    evaluator.update({i: [r for r in results if r["image_id"] == i] for i in batch})
evaluator.update({images[0]: [r for r in results if r["image_id"] == images[0]]})  # a sampler that pads
evaluator.join()
evaluator.summarize()
one = evaluator.evals["bbox"]
print(json.dumps([one.stats.tolist(), one.eval["precision"].tolist(), one.eval["recall"].tolist()]))
"""

# A file's names and annotations, chosen images, other maxDets, a table of classes from eval["precision"].
DETECTRON2 = """
import contextlib, io, json, sys
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

with contextlib.redirect_stdout(io.StringIO()):
    api = COCO(sys.argv[1])
ids = sorted(api.getCatIds())
names = [c["name"] for c in sorted(api.loadCats(ids), key=lambda c: c["id"])]
images = sorted(api.imgs.keys())
annotations = [api.imgToAnns[i] for i in images]
assert [i["id"] for i in api.loadImgs(images)] == images
assert sum(map(len, annotations)) == len(api.anns)
crowd = [a["id"] for a in api.loadAnns(api.getAnnIds(imgIds=images[:5], iscrowd=None)) if a["iscrowd"]]
results = json.load(open(sys.argv[2]))
for r in results:
    r.pop("segmentation", None)


class MostDetections(COCOeval):
    # pycocotools' summarize knows 100 only: users write their own
    def summarize(self):
        def mean(values):
            values = values[values > -1]
            return float(np.mean(values)) if len(values) else -1.0

        at50 = np.where(self.params.iouThrs == 0.5)[0]
        self.stats = np.array([
            mean(self.eval["precision"][..., 0, -1]), mean(self.eval["precision"][at50][..., 0, -1]),
            *(mean(self.eval["recall"][..., 0, m]) for m in range(3)),
        ])


with contextlib.redirect_stdout(io.StringIO()):
    dt = api.loadRes(results)
out = []
for kind, most in ((COCOeval, None), (MostDetections, [2, 5, 200])):
    e = kind(api, dt, "bbox")
    if most is not None:
        e.params.maxDets = most
        e.params.imgIds = images[::2]
    e.evaluate()
    e.accumulate()
    e.summarize()
    precision = e.eval["precision"]
    assert len(names) == precision.shape[2]
    table = {}
    for k, name in enumerate(names):
        mine = precision[:, :, k, 0, -1]
        mine = mine[mine > -1]
        table[name] = float(np.mean(mine) * 100) if mine.size else None
    overlaps = [[int(i), int(k), np.asarray(x).tolist()] for (i, k), x in sorted(e.ious.items())]
    assert all(np.array_equal(e.computeIoU(i, k), x) for i, k, x in overlaps[:50])
    out.append([e.stats.tolist(), table, crowd, [len(x["dtIds"]) for x in e.evalImgs if x is not None], overlaps])
print(json.dumps(out))
"""


def made(folder: Path) -> tuple[Path, Path]:
    """A small data set with crowds, tied scores, empty images and an empty class."""
    rng = np.random.default_rng(5)
    gt: dict[str, Any] = {
        "images": [{"id": int(i), "file_name": f"{i}.jpg"} for i in rng.permutation(40) + 3],
        "categories": [{"id": k, "name": f"class {k}"} for k in (1, 4, 9, 11)],
        "annotations": [],
    }
    results = []
    for n in range(160):
        x, y, w, h = (float(v) for v in (*rng.integers(0, 300, 2), *rng.integers(4, 150, 2)))
        image, kind = int(gt["images"][int(rng.integers(0, 36))]["id"]), int(rng.choice([1, 4, 9]))
        crowd = int(rng.random() < 0.06)
        record = {"id": n + 1, "image_id": image, "category_id": kind, "bbox": [x, y, w, h], "area": w * h}
        gt["annotations"].append({**record, "iscrowd": crowd})
        for _ in range(int(rng.integers(0, 4))):
            box = [x + float(rng.integers(-6, 7)), y, w, h + float(rng.integers(0, 9))]
            score = float(rng.integers(1, 20)) / 20
            results.append({"image_id": image, "category_id": kind, "bbox": box, "score": score})
    paths = folder / "gt.json", folder / "dt.json"
    for path, content in zip(paths, (gt, results), strict=True):
        path.write_text(json.dumps(content))
    return paths


Python = Callable[..., "subprocess.CompletedProcess[str]"]


def both(python: Python, script: str, gt: Path, dt: Path) -> tuple[list[str], list[str]]:
    """What the script prints on fastdet and on pycocotools."""
    arguments = f"import sys; sys.argv = ['', {str(gt)!r}, {str(dt)!r}]\n"
    ours = "import fastdet.coco; fastdet.coco.init_as_pycocotools()\n"
    return tuple(python(arguments + start + script).stdout.splitlines() for start in (ours, ""))  # type: ignore[return-value]


@pytest.mark.parametrize("script", [TORCHVISION, DETECTRON2], ids=["torchvision", "detectron2"])
@pytest.mark.parametrize("data", ["made", "real"])
def test_script_prints_the_same(python: Python, tmp_path: Path, script: str, data: str) -> None:
    need("pycocotools.cocoeval")
    if data == "made":
        gt, dt = made(tmp_path)
    else:
        folder = real_data("coco_val2014_100")
        gt, dt = folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json"
    ours, theirs = both(python, script, gt, dt)
    quiet = [line for line in theirs if " @[ " in line or line.startswith("[")]  # without their progress
    assert len(ours) == 13
    assert ours == quiet
    stats = json.loads(ours[-1])[0]
    assert 0 < (stats[0] if script is TORCHVISION else stats[0][0]) < 1
