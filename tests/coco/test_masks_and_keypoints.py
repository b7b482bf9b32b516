"""`COCO` with masks and keypoints: what is read when, the dictionaries of `loadRes`, and masks of annotations."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need, real_data

from fastdet._files import coco as files
from fastdet.coco import COCO, COCOeval, FormatError, mask

SQUARE = [1, 0, 3, 0, 3, 2, 1, 2]  # columns 1 and 2 of an image of two rows and four columns
RLE = {"size": [2, 4], "counts": "242"}  # the text of the runs 2, 4, 2
POINTS = [10, 20, 2, 14, 26, 1, 0, 0, 0]
DATA: dict[str, Any] = {
    "images": [{"id": 7, "width": 4, "height": 2}, {"id": 8}],
    "categories": [{"id": 1, "name": "a", "skeleton": [[1, 2], [2, 3]]}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "segmentation": [SQUARE], "bbox": [1, 0, 2, 2],
         "area": 4, "keypoints": POINTS, "num_keypoints": 2},
    ],
}  # fmt: skip
RESULT = {"image_id": 7, "category_id": 1, "score": 0.5}


def write(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_counts_of_this_file() -> None:
    assert mask.decode(RLE).tolist() == [[0, 1, 1, 0]] * 2


@pytest.mark.parametrize("of_file", [True, False])
def test_annotations_of_results(tmp_path: Path, of_file: bool) -> None:
    """The dictionaries that pycocotools' loadRes makes."""
    truth = COCO(copy.deepcopy(DATA))

    def loaded(*records: dict[str, Any]) -> list[dict[str, Any]]:
        listed = [{**RESULT, **record} for record in records]
        results = truth.loadRes(write(tmp_path / "dt.json", listed) if of_file else listed)
        annotations: list[dict[str, Any]] = results.dataset["annotations"]
        if not of_file:
            assert all(a is b for a, b in zip(annotations, listed, strict=True))
        return [{k: v for k, v in a.items() if k not in RESULT} for a in annotations]

    box = {"bbox": [1, 0, 2.5, 2]}
    polygon = [[1, 0, 1, 2, 3.5, 2, 3.5, 0]]
    assert loaded(box, {**box, "segmentation": RLE}) == [
        {**box, "segmentation": polygon, "area": 5, "id": 1, "iscrowd": 0},
        {**box, "segmentation": RLE, "area": 5, "id": 2, "iscrowd": 0},
    ]
    assert loaded({"segmentation": RLE}, {"segmentation": [SQUARE], "bbox": []}, {"segmentation": RLE, **box}) == [
        {"segmentation": RLE, "bbox": [1, 0, 2, 2], "area": 4, "id": 1, "iscrowd": 0},
        {"segmentation": [SQUARE], "bbox": [], "area": 4, "id": 2, "iscrowd": 0},
        {"segmentation": RLE, **box, "area": 4, "id": 3, "iscrowd": 0},
    ]
    points = {"keypoints": [1.5, 2, 0.9, 4, 1, 0, 3, 7.5, 0]}
    assert loaded(points, {**points, **box}) == [
        {**points, "bbox": [1.5, 1, 2.5, 6.5], "area": 2.5 * 6.5, "id": 1},
        {**points, "bbox": [1.5, 1, 2.5, 6.5], "area": 2.5 * 6.5, "id": 2},
    ]
    for wrong, text in (
        ([{}], r"results\[0\]: expected bbox, segmentation or keypoints, got none of them"),
        ([{"caption": "a cat"}], r"results\[0\]: expected bbox, segmentation or keypoints, got none of them"),
        ([{"segmentation": RLE}, {}], r"results\[1\].segmentation: expected polygons or run lengths, got no such"),
        ([{"segmentation": {**RLE, "size": [4, 2]}}], "size: expected the image's height and width, 2 x 4, got 4 x 2"),
        ([{"segmentation": [SQUARE], "image_id": 8}], "got polygons of image 8, whose size is not known"),
    ):  # fmt: skip
        with pytest.raises(FormatError, match=text):
            loaded(*wrong)
    assert loaded() == []


def scored(truth: COCO, results: COCO, kind: str) -> float:
    evaluation = COCOeval(truth, results, kind)
    if kind == "keypoints":
        evaluation.params.kpt_oks_sigmas = np.ones(3)
    evaluation.evaluate()
    evaluation.accumulate()
    return round(float(evaluation.eval["precision"][:, :, :, 0, -1].mean()), 9)


@pytest.mark.parametrize("source", ["file", "dict"])
def test_every_kind_of_one_data_set(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks and keypoints of a file are read once each, when they are needed."""
    read = []

    def counted(path: Any, kind: str, **more: Any) -> Any:
        read.append((Path(path).name, more.get("iou_type", "bbox")))
        return files.coco_content(path, kind, **more)

    for module in ("dataset", "results"):
        monkeypatch.setattr(f"fastdet.coco.{module}.coco_content", counted)
    whole = [{**RESULT, "bbox": [1, 0, 2, 2], "segmentation": RLE, "keypoints": POINTS}]
    of_file = source == "file"
    truth = COCO(write(tmp_path / "gt.json", DATA) if of_file else copy.deepcopy(DATA))
    results = truth.loadRes(write(tmp_path / "dt.json", whole) if of_file else whole)
    assert read == ([("gt.json", "any"), ("dt.json", "any")] if of_file else [])
    assert scored(truth, results, "bbox") == 1
    assert len(read) == 2 * of_file
    assert scored(truth, results, "segm") == scored(truth, results, "boundary") == scored(truth, results, "bbox") == 1
    assert scored(truth, results, "keypoints") == 1
    names = ("dt.json", "gt.json") * of_file
    assert sorted(read[2:]) == [(name, kind) for name in names for kind in ("keypoints", "segm")]
    assert results.anns[1]["segmentation"] == RLE  # from here on, dictionaries
    assert scored(truth, results, "segm") == scored(truth, results, "keypoints") == scored(truth, results, "bbox") == 1
    truth.anns[1]["segmentation"] = [[0, 0, 1, 0, 1, 1, 0, 1]]
    assert scored(truth, results, "segm") == 0
    assert scored(truth, results, "bbox") == 1


def test_boxes_as_masks(tmp_path: Path) -> None:
    """As in pycocotools, a result without a mask has that of its box."""
    box = {"bbox": [1, 0, 2, 2]}
    for records in ([{**RESULT, **box}], [{**RESULT, **box}, {**RESULT, **box, "segmentation": RLE}]):
        for source in (records, write(tmp_path / "dt.json", records)):
            truth = COCO(copy.deepcopy(DATA))
            assert scored(truth, truth.loadRes(source), "segm") == 1
    truth = COCO(copy.deepcopy(DATA))
    assert scored(truth, truth.loadRes(np.array([[7, 1, 0, 2, 2, 0.5, 1]])), "segm") == 1


def test_a_file_without_boxes(tmp_path: Path) -> None:
    for field, kind in (("segmentation", "segm"), ("keypoints", "keypoints")):
        data: dict[str, Any] = copy.deepcopy(DATA)
        del data["annotations"][0]["bbox"]
        path = write(tmp_path / "gt.json", data)
        truth = COCO(path)
        results = truth.loadRes([{**RESULT, field: DATA["annotations"][0][field]}])
        assert scored(truth, results, kind) == 1
        with pytest.raises(FormatError) as caught:
            scored(truth, results, "bbox")
        assert str(caught.value) == f"{path}: annotations[0].bbox: expected four numbers, got no such field"


def test_a_file_that_changed(tmp_path: Path) -> None:
    found = {**RESULT, "bbox": [1, 0, 2, 2], "segmentation": RLE}
    paths = write(tmp_path / "gt.json", DATA), write(tmp_path / "dt.json", [found])
    truth = COCO(paths[0])
    results = truth.loadRes(paths[1])
    changed: dict[str, Any] = copy.deepcopy(DATA)
    changed["annotations"][0]["area"] = 5
    write(tmp_path / "gt.json", changed)
    with pytest.raises(FormatError, match=r"gt.json: the file has changed since it was read first: load it again"):
        scored(truth, results, "segm")
    write(tmp_path / "gt.json", DATA)
    results = truth.loadRes(paths[1])
    write(tmp_path / "dt.json", [{**found, "score": 0.4}])
    with pytest.raises(FormatError, match=r"dt.json: the file has changed since it was read first: load it again"):
        scored(truth, results, "segm")
    assert scored(truth, results, "bbox") == 1


def test_masks_of_annotations() -> None:
    truth = COCO(copy.deepcopy(DATA))
    uncompressed = {"size": [2, 4], "counts": [2, 4, 2]}
    for segmentation in ([SQUARE], RLE, uncompressed, {**RLE, "counts": b"242"}):
        annotation = {"image_id": 7, "segmentation": segmentation}
        assert truth.annToMask(annotation).tolist() == [[0, 1, 1, 0]] * 2
    assert truth.annToRLE({"image_id": 7, "segmentation": [SQUARE]}) == {"size": [2, 4], "counts": b"242"}
    assert truth.annToRLE({"image_id": 8, "segmentation": RLE}) is RLE  # it has a size of its own
    assert truth.annToRLE({"image_id": 8, "segmentation": uncompressed})["counts"] == b"242"
    with pytest.raises(ValueError, match=r"^COCO.annToRLE: image 8 must have height, which polygons need$"):
        truth.annToMask({"image_id": 8, "segmentation": [SQUARE]})


def test_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    need("matplotlib").use("Agg")
    plt = need("matplotlib.pyplot")
    truth = COCO(copy.deepcopy(DATA))
    crowd = {"image_id": 7, "category_id": 1, "segmentation": RLE, "iscrowd": 1, "bbox": [1, 0, 2, 2]}
    figure = plt.figure()
    try:
        assert truth.showAnns([]) == 0
        assert truth.showAnns([*truth.loadAnns([1]), crowd], draw_bbox=True) is None
        ax = plt.gca()
        fills, edges = ax.collections
        assert len(fills.get_paths()) == len(edges.get_paths()) == 3  # a polygon and two boxes
        picture = np.asarray(ax.images[0].get_array())
        assert picture[0, 1].tolist() == [2 / 255, 166 / 255, 101 / 255, 0.5]
        assert picture[0, 0, 3] == 0
        assert [len(line.get_xdata()) for line in ax.lines] == [2, 2, 1]  # a bone, visible points, those not hidden
        truth.showAnns([{"caption": "a cat"}, {"caption": "a dog"}])
        assert capsys.readouterr().out == "a cat\na dog\n"
        with pytest.raises(ValueError, match="must have segmentation, keypoints or caption, got none of them"):
            truth.showAnns([{"id": 1}])
    finally:
        plt.close(figure)


VAL = "coco_val2014_100", "instances_val2014_100.json"


@pytest.mark.parametrize(
    ("folder", "names", "kinds"),
    [
        (VAL[0], (VAL[1], "instances_val2014_fakesegm100_results.json"), ("segm", "bbox")),
        (VAL[0], (VAL[1], "instances_val2014_fakebbox100_results.json"), ("segm",)),
        ("coco_keypoints_10", ("gt_dataset.json", "dt_dataset.json"), ("keypoints",)),
    ],
)
def test_equal_to_pycocotools(
    folder: str, names: tuple[str, str], kinds: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every cell; by files, by dictionaries, and by pycocotools' own objects. The dictionaries of results are equal."""
    theirs, evaluation = need("pycocotools.coco"), need("pycocotools.cocoeval")
    truth, found = (str(real_data(folder, name)) for name in names)
    for kind in kinds:
        pairs = []
        for make in (theirs.COCO, COCO):
            gt = make(truth)
            pairs.append((gt, gt.loadRes(found)))
        for a, b in zip(*(pair[1].dataset["annotations"] for pair in pairs), strict=True):
            assert a.keys() == b.keys()
            assert all(np.array_equal(a[k], b[k]) if k in ("bbox", "area") else a[k] == b[k] for k in a)
        gt = COCO(truth)
        pairs.append((gt, gt.loadRes(found)))
        gt = COCO(json.loads(Path(truth).read_text()))
        pairs.append((gt, gt.loadRes(json.loads(Path(found).read_text()))))
        wanted = evaluation.COCOeval(*pairs[0], kind)
        wanted.evaluate()
        wanted.accumulate()
        for pair in pairs:
            own = COCOeval(*pair, kind)
            own.evaluate()
            own.accumulate()
            for name in ("precision", "recall", "scores"):
                assert np.array_equal(own.eval[name], wanted.eval[name])
    capsys.readouterr()
