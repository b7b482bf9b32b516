"""The steps of COCOeval that scripts replace: honoured as pycocotools does, or refused by name."""

from __future__ import annotations

import contextlib
import copy
import io
import types
from typing import Any

import numpy as np
import pytest
from coco_scripts import Json, assert_same, both, invented, quick, scored, truth
from optional import need

import fastdet.coco
from fastdet.coco import COCO, COCOeval

# The steps of COCOeval


def centres(evaluation: Any, image: Any, category: Any) -> Any:
    """An overlap of one's own: 1 where centres are within 5 pixels, else 0."""
    gt, dt = evaluation._gts[image, category], evaluation._dts[image, category]
    if not gt or not dt:
        return []
    order = np.argsort([-d["score"] for d in dt], kind="mergesort")
    a, b = (np.array([x["bbox"] for x in xs]) for xs in ([dt[i] for i in order], gt))
    a, b = (x[:, :2] + x[:, 2:] / 2 for x in (a, b))
    return (np.abs(a[:, None] - b[None]).max(-1) <= 5).astype(float)


def test_compute_iou_of_a_subclass() -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        class Centres(api.COCOeval):  # type: ignore[misc, name-defined]
            def computeIoU(self, imgId: Any, catId: Any) -> Any:
                return centres(self, imgId, catId)

        coco = truth(api, gt)
        return scored(Centres(coco, coco.loadRes(results), "bbox"))

    assert_same(script)


def test_compute_iou_of_one_object() -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        coco = truth(api, gt)
        evaluation = api.COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.computeIoU = lambda image, category: centres(evaluation, image, category)
        return scored(evaluation)

    assert_same(script)


@pytest.mark.parametrize("name", ["computeIoU", "evaluateImg", "_prepare"])
def test_a_step_of_the_class_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapper that is assigned to the class is called."""
    calls = []

    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        own = getattr(api.COCOeval, name)

        def wrapper(self: Any, *arguments: Any) -> Any:
            calls.append(api)
            return own(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(api.COCOeval, name, wrapper)
            return quick(api, gt, results)

    assert_same(script, differs=False)
    assert calls.count(fastdet.coco) == len(calls) / 2 > 0


def test_evaluate_img_of_a_subclass() -> None:
    """Detections below a score are left out of some ranges of areas only: scores then differ between ranges."""

    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        class Above(api.COCOeval):  # type: ignore[misc, name-defined]
            def evaluateImg(self, imgId: Any, catId: Any, aRng: Any, maxDet: Any) -> Any:
                entry = super().evaluateImg(imgId, catId, aRng, maxDet)
                if entry is None or aRng[0] > 5000 or imgId == 4:
                    return None
                keep = np.array(entry["dtScores"]) >= (0.4 if aRng[0] else 0.6)
                entry["dtScores"] = np.array(entry["dtScores"])[keep].tolist()
                entry["dtMatches"], entry["dtIgnore"] = entry["dtMatches"][:, keep], entry["dtIgnore"][:, keep]
                return entry

        coco = truth(api, gt)
        return scored(Above(coco, coco.loadRes(results), "bbox"))

    assert_same(script)


def test_prepare_of_a_subclass() -> None:
    """A data set's own `ignore` is honoured, which pycocotools overwrites; small boxes are taken out of `_gts`."""

    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        wanted = {a["id"] for a in gt["annotations"] if a["ignore"]}

        class Ignoring(api.COCOeval):  # type: ignore[misc, name-defined]
            def _prepare(self) -> None:
                super()._prepare()
                for key, listed in self._gts.items():
                    for a in listed:
                        a["ignore"] = a["ignore"] or a["id"] in wanted
                    self._gts[key] = [a for a in listed if a["area"] > 700]

        coco = truth(api, gt)
        return scored(Ignoring(coco, coco.loadRes(results), "bbox"))

    assert_same(script)


def test_evaluate_of_a_subclass() -> None:
    """A script's own loop over the steps, as libraries with kernels of their own have it."""

    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        class Own(api.COCOeval):  # type: ignore[misc, name-defined]
            def evaluate(self) -> None:
                p = self.params
                p.imgIds, p.catIds = list(np.unique(p.imgIds)), list(np.unique(p.catIds))
                self._prepare()
                self.ious = {
                    (i, k): np.minimum(self.computeIoU(i, k), 0.8) if len(self.computeIoU(i, k)) else []
                    for i in p.imgIds for k in p.catIds
                }  # fmt: skip
                self.evalImgs = [
                    self.evaluateImg(i, k, limits, 10) for k in p.catIds for limits in p.areaRng for i in p.imgIds
                ]
                self._paramsEval = copy.deepcopy(self.params)

        coco = truth(api, gt)
        return scored(Own(coco, coco.loadRes(results), "bbox"))

    assert_same(script)


def test_accumulate_and_summarize_of_a_subclass() -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        class Halved(api.COCOeval):  # type: ignore[misc, name-defined]
            def accumulate(self, p: Any = None) -> None:
                for entry in filter(None, self.evalImgs):
                    entry["gtIgnore"] = np.ones_like(entry["gtIgnore"]) if entry["image_id"] % 2 else entry["gtIgnore"]
                super().accumulate(p)

            def summarize(self) -> None:
                self.stats = [float(self.eval["recall"].mean())]

        coco = truth(api, gt)
        return scored(Halved(coco, coco.loadRes(results), "bbox"))

    assert_same(script)


def test_eval_imgs_changed_in_place() -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        coco = truth(api, gt)
        evaluation = api.COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        for entry in filter(None, evaluation.evalImgs):
            if entry["category_id"] == 5:
                entry["dtIgnore"][:] = True
        evaluation.evalImgs[0] = None
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation

    assert_same(script)


def test_steps_called_one_by_one() -> None:
    """ious, _gts and _dts after evaluate; evaluateImg with an overlap that was changed."""

    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        coco = truth(api, gt)
        evaluation = api.COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        image, category = next(key for key, x in evaluation.ious.items() if np.size(x) > 1)
        answers = [evaluation.evaluateImg(image, category, [0, 1e10], 3)]
        evaluation.ious[image, category] = np.full_like(evaluation.ious[image, category], 0.55)
        answers.append(evaluation.evaluateImg(image, category, [0, 1e10], 100))
        evaluation.ious = {key: [] for key in evaluation.ious}
        answers.append(evaluation.evaluateImg(image, category, [0, 2000], 100))
        answers.append({
            "gts": [a["id"] for a in evaluation._gts[image, category]],
            "dts": [a["score"] for a in evaluation._dts[image, category]],
            "overlaps": evaluation.computeIoU(image, category), "none": evaluation.computeIoU(12, 2),
        })  # fmt: skip
        return answers

    ours, theirs = both(script)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[key], b[key]) for key in a), a
    assert ours[1]["dtMatches"].any()
    assert not ours[2]["dtMatches"].any()


def test_step_by_step_equals_all_at_once() -> None:
    """Also an annotation whose id is 0, which pycocotools cannot match."""
    gt, results = invented()
    gt["annotations"][0]["id"] = 0
    with contextlib.redirect_stdout(io.StringIO()):
        quickly = quick(fastdet.coco, copy.deepcopy(gt), results)
        slowly = COCOeval(truth(fastdet.coco, gt), truth(fastdet.coco, gt).loadRes(results), "bbox")
        slowly.computeIoU = types.MethodType(lambda self, i, k: COCOeval.computeIoU(self, i, k), slowly)  # type: ignore[method-assign]
        scored(slowly)
        read = COCOeval(slowly.cocoGt, slowly.cocoDt, "bbox")
        read.evaluate()
        assert len(read.evalImgs) == 12 * 3 * 4
        read.accumulate()
    for key in ("precision", "recall", "scores"):
        assert np.array_equal(quickly.eval[key], slowly.eval[key])
        assert np.array_equal(quickly.eval[key], read.eval[key])


def test_classes_taken_as_one_step_by_step() -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        coco = truth(api, gt)
        evaluation = api.COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.useCats, evaluation.params.maxDets = 0, [1, 3, 7]
        evaluation.computeIoU = types.MethodType(lambda self, i, k: api.COCOeval.computeIoU(self, i, k), evaluation)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.stats = []
        return evaluation

    assert_same(script, differs=False)


def test_params_replaced() -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        coco = truth(api, gt)
        evaluation = api.COCOeval(coco, coco.loadRes(results), "bbox")
        chosen = api.Params("bbox")
        chosen.imgIds, chosen.catIds, chosen.iouThrs = [1, 2, 3, 4, 5, 6], [5, 9], np.array([0.5, 0.75])
        evaluation.params = chosen
        return scored(evaluation)

    assert_same(script)


@pytest.mark.parametrize("name", ["Params", "SimpleNamespace"])
def test_params_of_another_class(name: str) -> None:
    need("pycocotools.cocoeval")
    from pycocotools.cocoeval import Params

    gt, results = invented()
    with contextlib.redirect_stdout(io.StringIO()):
        want = quick(fastdet.coco, gt, results)
        evaluation = COCOeval(want.cocoGt, want.cocoDt, "bbox")
        own: Any = vars(Params("bbox")) | {"imgIds": list(range(1, 13)), "catIds": [2, 5, 9]}
        if name == "Params":
            evaluation.params = Params("bbox")
            vars(evaluation.params).update(own)
        else:
            evaluation.params = types.SimpleNamespace(**own)
        scored(evaluation)
    assert np.array_equal(evaluation.eval["precision"], want.eval["precision"])


def test_compute_oks_is_called_where_it_is_replaced() -> None:
    """As pycocotools does for keypoints, and computeIoU for the others."""
    pose = [0, 0, 2] * 17
    person = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": pose, "num_keypoints": 17, "area": 100.0,
              "bbox": [0, 0, 10, 10], "iscrowd": 0}  # fmt: skip
    truth = COCO({"images": [{"id": 1}], "categories": [{"id": 1, "name": "a"}], "annotations": [person]})
    found = truth.loadRes([{"image_id": 1, "category_id": 1, "keypoints": pose, "score": 0.5}])
    asked = []

    class Own(COCOeval):
        def computeOks(self, imgId: int, catId: int) -> Any:
            asked.append((imgId, catId))
            return super().computeOks(imgId, catId) * 0.4

    own, plain = Own(truth, found, "keypoints"), COCOeval(truth, found, "keypoints")
    for evaluation in (own, plain):
        evaluation.evaluate()
        evaluation.accumulate()
    assert asked == [(1, 1)]
    assert own.eval["recall"].max() == 0
    assert plain.eval["recall"].max() == 1
    assert plain.computeOks(1, 1).tolist() == [[1.0]]
