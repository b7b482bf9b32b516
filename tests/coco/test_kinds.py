"""Masks, keypoints and boundaries: every cell equals pycocotools', on made data and on the samples."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_shapes import mask_data, pose_data
from optional import need, real_data

from fastdet import masks
from fastdet.coco import COCO, COCOeval

Json = dict[str, Any]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def scored(classes: Any, data: Json, results: Any, kind: str, max_dets: list[int] | None = None) -> tuple[Any, str]:
    """The evaluation after ``summarize``, and what that printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = classes[0](data) if classes[0] is COCO else classes[0]()
        if classes[0] is not COCO:
            truth.dataset = data
            truth.createIndex()
        found = classes[1](truth, truth.loadRes(results), kind)
        if max_dets is not None:
            found.params.maxDets = max_dets
        found.evaluate()
        found.accumulate()
        if max_dets is None:
            with contextlib.redirect_stdout(printed):
                found.summarize()
    return found, printed.getvalue()


def compare(make: Any, kind: str, seed: int, count: int) -> None:
    theirs = need("pycocotools.coco").COCO, need("pycocotools.cocoeval").COCOeval
    r = np.random.default_rng(seed)
    for _ in range(count):
        data, results = make(r)
        if not results:
            continue
        limits = None if r.random() < 0.7 else sorted(int(x) for x in r.integers(1, 5, 3))
        arguments = (kind, limits)
        want, words = scored(theirs, copy.deepcopy(data), copy.deepcopy(results), *arguments)
        got, own_words = scored((COCO, COCOeval), data, results, *arguments)
        for key in ("precision", "recall", "scores"):
            np.testing.assert_array_equal(got.eval[key], want.eval[key], err_msg=key)
        assert own_words == words
        assert len(got.evalImgs) == len(want.evalImgs)
        for mine, other in zip(got.evalImgs, want.evalImgs, strict=True):
            assert (mine is None) == (other is None)
            for key in other or ():
                np.testing.assert_array_equal(mine[key], other[key], err_msg=key)


KINDS = [(mask_data, "segm"), (mask_data, "bbox"), (pose_data, "keypoints")]


@pytest.mark.parametrize(("make", "kind"), KINDS, ids=[kind for _, kind in KINDS])
def test_equal_to_pycocotools(make: Any, kind: str) -> None:
    compare(make, kind, 0, 12)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize(("make", "kind"), [KINDS[0], KINDS[2]], ids=["segm", "keypoints"])
def test_always_equal_to_pycocotools(make: Any, kind: str, seed: int) -> None:
    """FASTDET_DATA_SETS=500 makes 3,000 data sets of each kind."""
    compare(make, kind, seed, int(os.environ.get("FASTDET_DATA_SETS", "60")))


@pytest.mark.parametrize(
    ("make", "kind"), [*KINDS, (mask_data, "boundary")], ids=["segm", "bbox", "keypoints", "boundary"]
)
def test_step_by_step_is_all_at_once(make: Any, kind: str) -> None:
    class ByStep(COCOeval):
        def evaluateImg(self, *args: Any) -> Any:
            return super().evaluateImg(*args)

    r = np.random.default_rng(5)
    for _ in range(6):
        data, results = make(r)
        one, _ = scored((COCO, COCOeval), copy.deepcopy(data), copy.deepcopy(results), kind)
        other, _ = scored((COCO, ByStep), data, results, kind)
        for key in ("precision", "recall", "scores"):
            np.testing.assert_array_equal(one.eval[key], other.eval[key])
        for image, of_image in one.ious.items():
            np.testing.assert_array_equal(of_image, other.ious[image])


SAMPLES = [
    ("coco_keypoints_10", "gt_dataset.json", "dt_dataset.json", "keypoints"),
    ("crowdpose_sample", "example_crowdpose_val.json", "example_crowdpose_preds.json", "keypoints_crowd"),
]


def stats(folder: Path, truth: str, results: Any, kind: str) -> list[float]:
    data = COCO(folder / truth)
    found = COCOeval(data, data.loadRes(folder / results if isinstance(results, str) else results), kind)
    found.evaluate()
    found.accumulate()
    found.summarize()
    return list(found.stats.tolist())


@pytest.mark.parametrize(("folder", "truth", "results", "kind"), SAMPLES, ids=[kind for *_, kind in SAMPLES])
def test_published_figures(folder: str, truth: str, results: str, kind: str, capsys: Any) -> None:
    where = real_data(folder)
    expected = json.loads((where / "expected.json").read_text())
    want = expected.get("stats") or [
        expected[key] for key in ("AP", "AP50", "AP75", "AR", "AR50", "AR75", "AP_easy", "AP_medium", "AP_hard")
    ]
    assert stats(where, truth, results, kind) == pytest.approx(want, rel=1e-12)
    assert capsys.readouterr().out.count("\n") == len(want)


def test_published_figures_of_masks(capsys: Any) -> None:
    where = real_data("coco_val2014_100")
    expected = json.loads((where / "expected_stats.json").read_text())["segm"]
    got = stats(where, "instances_val2014_100.json", "instances_val2014_fakesegm100_results.json", "segm")
    assert got == pytest.approx(expected, rel=1e-12)  # the mean is another NumPy's


def test_published_figures_of_boundaries(capsys: Any) -> None:
    """Results as run lengths, without bbox and area."""
    where = real_data("boundary_sample")
    expected = json.loads((where / "expected.json").read_text())
    sizes = {image["id"]: image for image in json.loads((where / "gt_dataset.json").read_text())["images"]}
    results = []
    for record in json.loads((where / "dt_dataset.json").read_text()):
        image = sizes[record["image_id"]]
        drawn = masks.from_polygons([record["segmentation"]], (image["height"], image["width"])).to_coco()[0]
        kept = {key: record[key] for key in ("image_id", "category_id", "score")}
        results.append({**kept, "segmentation": drawn})
    got = stats(where, "gt_dataset.json", results, "boundary")
    assert got[:6] == [expected[key] for key in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")]
    assert got[6] == expected["AR"]
