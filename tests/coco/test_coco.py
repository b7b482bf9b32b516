"""fastdet.coco against pycocotools, cell by cell, and what scripts written for it expect."""

import contextlib
import copy
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import need

from fastdet._core import backends
from fastdet.coco import COCO, COCOeval, FormatError, Params

Json = dict[str, Any]
EXAMPLES = int(os.environ.get("FASTDET_EXAMPLES", 300))  # of small data sets that are compared with pycocotools


def dataset(truth: list[Json], images: int = 1, categories: int = 1) -> Json:
    return {
        "images": [{"id": i} for i in range(images)],
        "categories": [{"id": k, "name": str(k)} for k in range(categories)],
        "annotations": [
            {"id": n, "image_id": 0, "category_id": 0, "iscrowd": 0, "area": float(t["bbox"][2] * t["bbox"][3]), **t}
            for n, t in enumerate(truth, 1)
        ],
    }


def detection(box: list[float], score: float, image: int = 0, category: int = 0) -> Json:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def scored(gt: Any, results: Any, **params: Any) -> COCOeval:
    data = gt if isinstance(gt, COCO) else COCO(gt)
    found = COCOeval(data, data.loadRes(results), "bbox")
    for name, value in params.items():
        setattr(found.params, name, value)
    found.evaluate()
    found.accumulate()
    with contextlib.redirect_stdout(io.StringIO()):
        found.summarize()
    return found


def few(found: COCOeval) -> list[float]:
    """AP, AP50, AP small, AP medium, AR100."""
    return [round(float(found.stats[i]), 3) for i in (0, 1, 3, 4, 8)]


BOX = [0.0, 0.0, 40.0, 40.0]
ONE = dataset([{"bbox": BOX}])
HALF, FAR = [0.0, 0.0, 40.0, 20.0], [500.0, 0.0, 100.0, 100.0]
CROWD = dataset([{"bbox": BOX}, {"bbox": [100.0, 0.0, 100.0, 100.0], "iscrowd": 1}])


@pytest.mark.parametrize(
    ("gt", "results", "want"),
    [
        (ONE, [detection(BOX, 1)], [1, 1, -1, 1, 1]),
        (ONE, [detection(HALF, 1)], [0.1, 1, -1, 0.1, 0.1]),
        (ONE, [detection([0.0, 0.0, 40.0, 30.0], 1)], [0.6, 1, -1, 0.6, 0.6]),
        (ONE, [detection(FAR, 0.5), detection(BOX, 0.5)], [0.5, 0.5, -1, 1, 1]),
        (ONE, [detection(BOX, 0.5), detection(FAR, 0.5)], [1, 1, -1, 1, 1]),
        (ONE, [], [0, 0, -1, 0, 0]),
        (dataset([]), [detection(BOX, 1)], [-1, -1, -1, -1, -1]),
        (dataset([{"bbox": BOX, "iscrowd": 1}]), [detection(BOX, 1)], [-1, -1, -1, -1, -1]),
        (
            CROWD,
            [detection([100.0, 0, 9, 9], 0.9), detection([150.0, 0, 9, 9], 0.8), detection(BOX, 0.5)],
            [1, 1, -1, 1, 1],
        ),
        (dataset([{"bbox": [1.0, 1.0, 0.0, 5.0]}]), [detection([1.0, 1.0, 0.0, 5.0], 1)], [0, 0, 0, -1, 0]),
        (ONE, [detection(BOX, 1), detection(BOX, 1, category=7)], [1, 1, -1, 1, 1]),
        (dataset([{"bbox": [0.0, 0, 32, 32]}]), [detection([0.0, 0, 32, 32], 1)], [1, 1, 1, 1, 1]),
        (ONE, [detection(FAR, 0.9)] * 100 + [detection(BOX, 0.5)], [0, 0, -1, 0, 0]),
        (dataset([{"bbox": BOX, "id": 0}]), [detection(BOX, 1)], [1, 1, -1, 1, 1]),
        (dataset([{"bbox": BOX}, {"bbox": FAR, "id": 1}]), [detection(BOX, 1), detection(FAR, 1)], [1, 1, -1, 1, 1]),
        (dataset([{"bbox": BOX, "area": 100.0}]), [detection(BOX, 1)], [1, 1, 1, -1, 1]),
    ],
)
def test_known_cases(gt: Json, results: list[Json], want: list[float]) -> None:
    assert few(scored(gt, results)) == want


def test_max_dets_are_honoured() -> None:
    """The hit is the 101st detection: pycocotools' first line is -1 or 0 whatever maxDets say."""
    results = [detection(FAR, 0.9)] * 100 + [detection(BOX, 0.5)]
    found = scored(ONE, results, maxDets=[1, 10, 101])
    assert found.stats[0] == pytest.approx(1 / 101)
    assert found.stats[8] == 1
    one = scored(ONE, [detection(BOX, 1)], maxDets=[5])
    assert one.stats[[0, 6, 7, 8, 11]].tolist() == pytest.approx([1, 1, -1, -1, -1], abs=1e-12)


def test_summary_in_pycocotools_words(capsys: pytest.CaptureFixture[str]) -> None:
    found = scored(ONE, [detection(HALF, 1)])
    capsys.readouterr()
    found.summarize()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[0] == " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.100"
    assert lines[1] == " Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ] = 1.000"
    assert lines[6] == " Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1 ] = 0.100"
    assert lines[9] == " Average Recall     (AR) @[ IoU=0.50:0.95 | area= small | maxDets=100 ] = -1.000"


def test_absent_crowd_and_area() -> None:
    gt = copy.deepcopy(ONE)
    del gt["annotations"][0]["iscrowd"], gt["annotations"][0]["area"]
    assert few(scored(gt, [detection(BOX, 1)])) == [1, 1, -1, 1, 1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image_id": 5}, r"loadRes: results\[1\].image_id: expected an image of the data set, got 5"),
        ({"score": float("nan")}, r"loadRes: results\[1\].score: expected a number, got nan"),
        ({"bbox": [1, 2, -3, 4]}, r"loadRes: results\[1\].bbox: expected a width >= 0, got -3"),
        ({"bbox": [1, 2, 3]}, r"loadRes: results\[1\].bbox: expected four numbers, got 3 numbers"),
    ],
)
def test_wrong_results(change: Json, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        COCO(ONE).loadRes([detection(BOX, 1), {**detection(BOX, 1), **change}])


def test_wrong_use() -> None:
    with pytest.raises(ValueError, match=r"iouType must be one of 'bbox', 'segm', 'boundary', .*, got 'mask'"):
        COCOeval(iouType="mask")
    with pytest.raises(ValueError, match="needs cocoGt and cocoDt"):
        COCOeval().evaluate()
    found = COCOeval(COCO(ONE), COCO(ONE), "bbox")
    with pytest.raises(ValueError, match="call evaluate"):
        found.accumulate()
    with pytest.raises(FormatError, match=r"annotations\[0\].score of cocoDt"):
        found.evaluate()
    with pytest.raises(Exception, match="Please run accumulate"):
        found.summarize()
    found = scored(ONE, [detection(BOX, 1)])
    found.params.iouThrs = np.array([0.5])
    with pytest.raises(ValueError, match=r"params\.iouThrs has changed: call evaluate"):
        found.accumulate()
    for name, value in (("iouThrs", []), ("areaRng", [1, 2]), ("maxDets", []), ("recThrs", [1, 0])):
        with pytest.raises(ValueError, match=name):
            scored(ONE, [], **{name: value})
    with pytest.raises(TypeError, match="annotation_file must be a path or a dict, got int"):
        COCO(5)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------- against pycocotools
@st.composite
def data_sets(draw: st.DrawFn) -> tuple[Json, list[Json], Json]:
    """Few places, sizes and scores: boxes coincide and scores tie. Some classes and images have nothing."""
    images, categories = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    scale = draw(st.sampled_from([1.0, 8.0]))
    side = st.integers(0, 9).map(lambda x: x * scale)
    box = st.tuples(side, side, side, side).map(list)
    image, category = st.integers(0, images - 1), st.integers(0, categories)
    truth = draw(
        st.lists(st.tuples(box, image, category, st.sampled_from([0, 0, 0, 1]), st.sampled_from([1, 0.5])), max_size=12)
    )
    ids = draw(st.permutations(range(1, len(truth) + 1)))
    gt = dataset([], images, categories)
    gt["annotations"] = [
        {"id": n, "image_id": i, "category_id": k, "bbox": b, "area": b[2] * b[3] * part, "iscrowd": crowd}
        for n, (b, i, k, crowd, part) in zip(ids, truth, strict=True)
    ]
    rows = st.tuples(box, st.integers(0, 4).map(lambda x: x / 4), image, category)
    results = [detection(b, s, i, k) for b, s, i, k in draw(st.lists(rows, min_size=1, max_size=25))]
    params: Json = {"useCats": draw(st.integers(0, 1))}
    if draw(st.booleans()):
        params["maxDets"] = draw(st.sampled_from([[1, 2, 3], [2, 5, 100]]))
        params["iouThrs"] = np.array([0.0, 0.3, 0.5, 1.0])
        params["recThrs"] = np.array([0.0, 1 / 3, 0.5, 1.0])
    if draw(st.booleans()):
        params["imgIds"] = list(range(0, images, 2))
        params["catIds"] = list(range(categories))[::-1]
    return gt, results, params


def theirs(gt: Json, results: list[Json], params: Json) -> Any:
    coco, cocoeval = need("pycocotools.coco"), need("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        data.dataset = copy.deepcopy(gt)
        data.createIndex()
        found = cocoeval.COCOeval(data, data.loadRes(copy.deepcopy(results)), "bbox")
        for name, value in params.items():
            setattr(found.params, name, value)
        found.evaluate()
        found.accumulate()
        if found.params.maxDets[-1] == 100:
            found.summarize()
    return found


def same(ours: COCOeval, want: Any) -> None:
    for name in ("precision", "recall", "scores"):
        assert np.array_equal(ours.eval[name], want.eval[name]), name
        assert ours.eval[name].dtype == want.eval[name].dtype
    assert ours.eval["counts"] == want.eval["counts"]
    if len(want.stats):
        assert np.array_equal(ours.stats, want.stats)


@settings(max_examples=EXAMPLES, deadline=None)
@given(data_sets())
def test_equal_to_pycocotools(case: tuple[Json, list[Json], Json]) -> None:
    gt, results, params = case
    want = theirs(gt, results, params)
    ours = scored(gt, results, **params)
    same(ours, want)
    assert len(ours.evalImgs) == len(want.evalImgs)
    for a, b in zip(ours.evalImgs, want.evalImgs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.keys() == b.keys()
            for key in a:
                assert np.array_equal(np.asarray(a[key]), np.asarray(b[key])), key


@settings(max_examples=30, deadline=None)
@given(data_sets())
def test_reference_is_equal(case: tuple[Json, list[Json], Json]) -> None:
    """Without the C++ backend."""
    gt, results, params = case
    ours, native = scored(gt, results, **params), backends.native
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "native", None)
        patch.setattr(backends, "default", lambda: "reference")
        same(scored(gt, results, **params), ours)
    assert backends.native is native


def test_files_are_equal_to_dictionaries(tmp_path: Path) -> None:
    r = np.random.default_rng(2)
    gt = dataset(
        [
            {"bbox": b.tolist(), "image_id": int(i), "area": 5.0}
            for b, i in zip(r.random((50, 4)) * 30, r.integers(0, 9, 50), strict=True)
        ],
        9,
    )
    results = [
        detection(b.tolist(), float(s), int(i))
        for b, s, i in zip(r.random((90, 4)) * 30, r.random(90), r.integers(0, 9, 90), strict=True)
    ]
    (tmp_path / "gt.json").write_text(json.dumps(gt))
    (tmp_path / "dt.json").write_text(json.dumps(results))
    data = COCO(tmp_path / "gt.json")
    found = scored(data, str(tmp_path / "dt.json"))
    same(found, scored(gt, results))
    rows = np.array([[d["image_id"], *d["bbox"], d["score"], d["category_id"]] for d in results])
    same(scored(gt, rows), found)
    assert data.dataset == gt  # the dictionaries come when asked for
    assert data.anns[3] == gt["annotations"][2]
    data.anns[3]["iscrowd"] = 1  # and then are what counts
    changed = scored(data, results)
    assert not np.array_equal(changed.eval["recall"], found.eval["recall"])


# -------------------------------------------------------------------------------------------- the API
def test_queries() -> None:
    gt = dataset([{"bbox": BOX}, {"bbox": HALF, "image_id": 2, "category_id": 1, "iscrowd": 1}], 3, 2)
    data = COCO(gt)
    assert data.getImgIds() == [0, 1, 2]
    assert data.getImgIds(catIds=[1]) == [2]
    assert data.getImgIds(imgIds=[0, 2], catIds=1) == [2]
    assert data.getCatIds() == [0, 1]
    assert data.getCatIds(catNms=["1"]) == [1]
    assert data.getAnnIds() == [1, 2]
    assert data.getAnnIds(imgIds=2) == [2]
    assert data.getAnnIds(catIds=[0], areaRng=[0, 1e4], iscrowd=False) == [1]
    assert data.getAnnIds(imgIds=[1]) == []
    assert data.loadAnns(2)[0]["image_id"] == 2
    assert data.loadImgs([1]) == [{"id": 1}]
    assert data.loadCats(0) == [{"id": 0, "name": "0"}]
    found = data.loadRes([detection(BOX, 0.5)])
    assert found.anns == {
        1: {"segmentation": [[0, 0, 0, 40, 40, 40, 40, 0]], **detection(BOX, 0.5), "area": 1600, "id": 1, "iscrowd": 0}
    }
    assert found.getImgIds() == data.getImgIds()
    assert copy.deepcopy(found).getCatIds() == [0, 1]
    with pytest.raises(AttributeError):
        data.nothing  # noqa: B018


def test_evalimgs_put_together_by_hand() -> None:
    """As torchvision's reference scripts do it: parts of the images are evaluated apart, then joined."""
    r = np.random.default_rng(5)
    gt = dataset(
        [
            {"bbox": b.tolist(), "image_id": int(i)}
            for b, i in zip(r.integers(1, 9, (40, 4)) * 9, r.integers(0, 8, 40), strict=True)
        ],
        8,
    )
    results = [
        detection((b * 9).tolist(), float(s), int(i))
        for b, s, i in zip(r.integers(1, 9, (99, 4)), r.random(99), r.integers(0, 8, 99), strict=True)
    ]
    joined, parts = COCOeval(COCO(gt), iouType="bbox"), []
    for images in ([0, 1, 2], [3, 4], [5, 6, 7]):
        part = COCOeval(COCO(gt), iouType="bbox")
        part.cocoDt = COCO.loadRes(COCO(gt), [d for d in results if d["image_id"] in images])
        part.params.imgIds = images
        part.evaluate()
        parts.append(np.asarray(part.evalImgs).reshape(-1, len(part.params.areaRng), len(images)))
    joined.evalImgs = list(np.concatenate(parts, 2).flatten())
    joined.params.imgIds = list(range(8))
    joined._paramsEval = copy.deepcopy(joined.params)
    joined.accumulate()
    whole = scored(gt, results)
    for name in ("precision", "recall", "scores"):
        assert np.array_equal(joined.eval[name], whole.eval[name])


def test_init_as_pycocotools() -> None:
    script = """
import fastdet.coco
fastdet.coco.init_as_pycocotools()
import pycocotools.mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params
import pycocotools.coco
assert pycocotools.coco.COCO is COCO is fastdet.coco.COCO and COCOeval is fastdet.coco.COCOeval
gt = COCO()
gt.dataset = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [
    {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}]}
gt.createIndex()
e = COCOeval(gt, gt.loadRes([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 1}]), "bbox")
e.evaluate(); e.accumulate(); e.summarize()
assert round(e.stats[0], 9) == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)


def test_params() -> None:
    p = Params("bbox")
    want = need("pycocotools.cocoeval").Params("bbox")
    for name in ("imgIds", "catIds", "iouThrs", "recThrs", "maxDets", "areaRng", "areaRngLbl", "useCats"):
        assert np.array_equal(getattr(p, name), getattr(want, name)), name


def test_fields_that_are_absent() -> None:
    """iscrowd is 0 and area width times height, also for queries."""
    data = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "a"}]}
    data["annotations"] = [{"id": i, "image_id": 1, "category_id": 1, "bbox": [0, 0, i, 10]} for i in (1, 2, 3)]
    data["annotations"][2]["iscrowd"] = 1
    coco = COCO(data)
    assert coco.getAnnIds(iscrowd=False) == [1, 2]
    assert coco.getAnnIds(iscrowd=True) == [3]
    assert coco.getAnnIds(areaRng=[15, 100]) == [2, 3]


@pytest.mark.parametrize(("name", "value"), [("iouType", "segm"), ("useSegm", 1), ("iouType", "keypoints")])
def test_another_kind_is_asked_for_later(name: str, value: Any) -> None:
    data = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "a"}], "annotations": []}
    truth = COCO(data)
    evaluation = COCOeval(truth, truth.loadRes([]), "bbox")
    setattr(evaluation.params, name, value)
    evaluation.evaluate()
    assert evaluation.params.iouType == ("segm" if value == 1 else value)
    evaluation.params.useSegm, evaluation.params.iouType = None, "mask"
    with pytest.raises(ValueError, match=r"iouType must be one of .*, got 'mask'"):
        evaluation.evaluate()


def test_ranges_without_names(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "a"}], "annotations": []}
    truth = COCO(data)
    evaluation = COCOeval(truth, truth.loadRes([]), "bbox")
    evaluation.params.areaRng = [[0, 1e10]]
    evaluation.evaluate()
    evaluation.accumulate()
    with pytest.raises(ValueError, match=r"params.areaRngLbl must be 1 names, one for each of areaRng"):
        evaluation.summarize()
    assert not capsys.readouterr().out
