"""What scripts replace and change of data sets and parameters: honoured as pycocotools does, or refused by name."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from coco_scripts import Json, assert_same, both, invented, quick, scored, truth
from optional import need

import fastdet.coco
from fastdet.coco import COCO, COCOeval

# The queries and tables of COCO


def no_tall(listed: list[Json]) -> list[Json]:
    return [a for a in listed if a["bbox"][3] < 60]


@pytest.mark.parametrize("where", ["subclass", "object"])
@pytest.mark.parametrize("name", ["getAnnIds", "loadAnns"])
def test_queries_replaced(name: str, where: str) -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        class Filtered(api.COCO):  # type: ignore[misc, name-defined]
            pass

        own = getattr(api.COCO, name)

        def query(self: Any, *arguments: Any, **options: Any) -> Any:
            found = own(self, *arguments, **options)
            return no_tall(found) if name == "loadAnns" else [i for i in found if i % 3]

        coco = (Filtered if where == "subclass" else api.COCO)()
        coco.dataset = gt
        coco.createIndex()
        dt = coco.loadRes(results)
        if where == "subclass":
            setattr(Filtered, name, query)
        else:
            setattr(coco, name, types.MethodType(query, coco))
        return scored(api.COCOeval(coco, dt, "bbox"))

    assert_same(script)


def test_images_and_categories_replaced() -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        class Half(api.COCO):  # type: ignore[misc, name-defined]
            def getImgIds(self, imgIds: Any = (), catIds: Any = ()) -> Any:
                return [i for i in api.COCO.getImgIds(self, imgIds, catIds) if i % 2]

            def getCatIds(self, catNms: Any = (), supNms: Any = (), catIds: Any = ()) -> Any:
                return [9, 2]

        coco = Half()
        coco.dataset = gt
        coco.createIndex()
        return scored(api.COCOeval(coco, coco.loadRes([r for r in results if r["image_id"] % 2]), "bbox"))

    assert_same(script)


def test_create_index_of_a_subclass(tmp_path: Any) -> None:
    """Called when a file is read, as pycocotools does, whether or not a table is used."""

    def script(api: Any, gt: Json, results: list[Json]) -> Any:

        class Filtered(api.COCO):  # type: ignore[misc, name-defined]
            def createIndex(self) -> None:
                self.dataset["annotations"] = no_tall(self.dataset["annotations"])
                super().createIndex()

        path = tmp_path / "gt.json"
        path.write_text(json.dumps(gt))
        coco = Filtered(str(path))
        return scored(api.COCOeval(coco, coco.loadRes(results), "bbox"))

    assert_same(script)


def edit_lists(coco: Any) -> None:
    for image in list(coco.imgToAnns):
        coco.imgToAnns[image] = no_tall(coco.imgToAnns[image])


def edit_in_place(coco: Any) -> None:
    for a in list(coco.imgToAnns[3]):
        coco.imgToAnns[3].remove(a)


def edit_boxes(coco: Any) -> None:
    for a in coco.anns.values():
        a["bbox"] = [a["bbox"][0] + 4, *a["bbox"][1:]]


def edit_anns(coco: Any) -> None:
    for i in (1, 2, 3, 4, 5):
        coco.anns[i] = {**coco.anns[i], "bbox": [0.0, 0, 5, 5], "area": 25.0}


def edit_tables(coco: Any) -> None:
    coco.imgToAnns = {image: listed[:1] for image, listed in coco.imgToAnns.items()}
    coco.anns = {i: {**a, "iscrowd": 0} for i, a in coco.anns.items()}


def edit_dataset(coco: Any) -> None:
    coco.dataset["annotations"] = no_tall(coco.dataset["annotations"])
    coco.createIndex()


def edit_both(coco: Any) -> None:
    new = {"id": 999, "image_id": 2, "category_id": 5, "bbox": [150.0, 150, 20, 20], "area": 400.0, "iscrowd": 0}
    coco.imgToAnns[2].append(new)
    coco.anns[999] = new


def edit_tables_then_index(coco: Any) -> None:
    edit_tables(coco)
    edit_dataset(coco)


EDITS = [
    edit_lists, edit_in_place, edit_boxes, edit_anns, edit_tables, edit_dataset, edit_both, edit_tables_then_index,
]  # fmt: skip


@pytest.mark.parametrize("source", ["dictionary", "file"])
@pytest.mark.parametrize("edit", EDITS, ids=lambda f: f.__name__)
def test_tables_edited(edit: Callable[[Any], None], source: str, tmp_path: Any) -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:

        path = tmp_path / "gt.json"
        path.write_text(json.dumps(gt))
        coco = api.COCO(str(path)) if source == "file" else truth(api, gt)
        dt = coco.loadRes(results)
        evaluation = api.COCOeval(coco, dt, "bbox")
        edit(coco)
        return scored(evaluation)

    assert_same(script)


def test_detections_edited() -> None:
    """The tables of results, and the caller's own dictionaries, which pycocotools shares."""

    def tables(api: Any, gt: Json, results: list[Json]) -> Any:
        coco = truth(api, gt)
        dt = coco.loadRes(results)
        for i in range(1, 20):
            dt.anns[i]["score"] = 0.01
        dt.imgToAnns[5] = []
        return scored(api.COCOeval(coco, dt, "bbox"))

    def sources(api: Any, gt: Json, results: list[Json]) -> Any:
        coco = truth(api, gt)
        dt = coco.loadRes(results)
        for r in results[:30]:
            r["score"], r["bbox"] = 0.02, [r["bbox"][0] + 3, r["bbox"][1], 12.0, 12.0]
        return scored(api.COCOeval(coco, dt, "bbox"))

    def both_of_them(api: Any, gt: Json, results: list[Json]) -> Any:
        coco = truth(api, gt)
        dt = coco.loadRes(results)
        assert len(dt.anns) == len(results)
        results[0]["bbox"] = results[1]["bbox"] = [0.0, 0, 1, 1]
        return scored(api.COCOeval(coco, dt, "bbox"))

    for script in (tables, sources, both_of_them):
        assert_same(script)


def test_load_numpy_annotations_replaced() -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        class Scaled(api.COCO):  # type: ignore[misc, name-defined]
            def loadNumpyAnnotations(self, data: Any) -> Any:
                return [{**r, "score": 1 - r["score"]} for r in super().loadNumpyAnnotations(data)]

        coco = Scaled()
        coco.dataset = gt
        coco.createIndex()
        rows = np.array([[r["image_id"], *r["bbox"], r["score"], r["category_id"]] for r in results])
        return scored(api.COCOeval(coco, coco.loadRes(rows), "bbox"))

    assert_same(script)


def test_a_change_that_pycocotools_leaves_out_is_refused() -> None:
    def one_more(coco: Any) -> None:
        coco.dataset["annotations"].append(dict(coco.dataset["annotations"][0], id=77))

    def fewer(coco: Any) -> None:
        coco.dataset["annotations"] = coco.dataset["annotations"][:5]

    def other_images(coco: Any) -> None:
        coco.dataset["images"] = coco.dataset["images"][:5]

    def another(coco: Any) -> None:
        coco.dataset = invented(9)[0]

    for change in (one_more, fewer, other_images, another):
        gt, results = invented()
        coco = truth(fastdet.coco, gt)
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        change(coco)
        with pytest.raises(
            ValueError, match=r"^COCO: dataset was changed after the index was made: call createIndex\(\)"
        ):
            evaluation.evaluate()
        coco.createIndex()
        evaluation.evaluate()
    gt, results = invented()
    coco = truth(fastdet.coco, gt)
    dt = coco.loadRes(results)
    results.pop()
    with pytest.raises(ValueError, match=r"^COCO: the list of results was changed after loadRes: call loadRes again$"):
        COCOeval(coco, dt, "bbox").evaluate()


def test_tables_that_contradict_each_other() -> None:
    gt, results = invented()
    coco = truth(fastdet.coco, gt)
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    kept = coco.anns.pop(7)
    with pytest.raises(ValueError, match=r"^COCO: anns must have annotation 7, which imgToAnns lists: change both$"):
        evaluation.evaluate()
    coco.anns[7], coco.anns[500] = kept, {**kept, "id": 500}
    with pytest.raises(ValueError, match=r"^COCO: imgToAnns must list annotation 500, which anns has: change both$"):
        evaluation.evaluate()


def test_a_lookup_is_no_change() -> None:
    gt, results = invented()
    coco = truth(fastdet.coco, gt)
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    assert coco.imgToAnns[123456] == []
    assert coco._index is not None
    assert not coco._index.differs(coco.anns, coco.imgToAnns)
    evaluation.evaluate()


def test_pycocotools_own_data_sets() -> None:
    """Both, and one of them with one of fastdet's."""
    need("pycocotools.coco")
    from pycocotools.coco import COCO as TheirCOCO

    gt, results = invented()
    with contextlib.redirect_stdout(io.StringIO()):
        want = quick(fastdet.coco, copy.deepcopy(gt), copy.deepcopy(results))
        theirs = truth(types.SimpleNamespace(COCO=TheirCOCO), copy.deepcopy(gt))
        their_results = theirs.loadRes(copy.deepcopy(results))
        for pair in ((theirs, their_results), (theirs, want.cocoDt), (want.cocoGt, their_results)):
            got = scored(COCOeval(*pair, "bbox"))
            for key in ("precision", "recall", "scores"):
                assert np.array_equal(got.eval[key], want.eval[key])
            assert len(got.evalImgs) == len(want.evalImgs)


def test_what_is_no_data_set() -> None:
    for wrong in ({"images": []}, "gt.json", []):
        with pytest.raises(TypeError, match=r"^COCOeval: cocoGt must be a COCO, got \w+ without getImgIds$"):
            COCOeval(wrong, COCO(), "bbox")  # type: ignore[arg-type]
    gt, _ = invented()
    with pytest.raises(TypeError, match=r"^COCOeval: cocoDt must be a COCO, got list without getImgIds$"):
        COCOeval(truth(fastdet.coco, gt), [], "bbox").evaluate()  # type: ignore[arg-type]


def test_a_subclass_without_its_init() -> None:
    """pycocotools' needs no more than its attributes."""

    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        class Own(api.COCO):  # type: ignore[misc, name-defined]
            def __init__(self, content: Json) -> None:
                self.dataset = content
                self.createIndex()

        coco = Own(gt)
        return scored(api.COCOeval(coco, coco.loadRes(results), "bbox"))

    assert_same(script, differs=False)


# Parameters that are empty, or name nothing


@pytest.mark.parametrize("name", ["recThrs", "iouThrs", "imgIds", "catIds", "areaRng"])
def test_empty_parameters(name: str) -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        coco = truth(api, gt)
        evaluation = api.COCOeval(coco, coco.loadRes(results), "bbox")
        setattr(evaluation.params, name, [])
        if name == "areaRng":
            evaluation.params.areaRngLbl = []
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.stats = []
        if name != "iouThrs":
            evaluation.summarize()
        return evaluation

    assert_same(script, differs=name != "iouThrs")
    ours, _ = both(script)
    if name == "recThrs":
        assert ours.stats[0] == -1
        assert ours.stats[8] > 0
    elif name == "iouThrs":
        with pytest.raises(ValueError, match=r"^COCOeval: summarize needs params.iouThrs, got an empty list$"):
            ours.summarize()
    else:
        assert (np.asarray(ours.stats) == -1).all()


def test_parameters_that_name_nothing() -> None:
    cases: list[tuple[str, Any, str]] = [
        ("maxDets", [], "params.maxDets must be a list of integers >= 1, got []"),
        ("maxDets", [1, 10.5], "params.maxDets must be a list of integers >= 1, got [1, 10.5]"),
        ("imgIds", [100, 200], "params.imgIds must be images of cocoGt, got none of them: [100, 200]"),
        ("catIds", [0, 1], "params.catIds must be categories of cocoGt, got none of them: [0, 1]"),
        ("imgIds", [1.5], "params.imgIds must be integers, got [1.5]"),
        ("imgIds", ["1", "2"], "params.imgIds must be integers, got ['1', '2']"),
        ("catIds", [True], "params.catIds must be integers, got [True]"),
    ]
    for name, value, text in cases:
        gt, results = invented()
        coco = truth(fastdet.coco, gt)
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        setattr(evaluation.params, name, value)
        with pytest.raises(ValueError) as error:
            evaluation.evaluate()
        assert str(error.value) == f"COCOeval: {text}"


@pytest.mark.parametrize(
    "make", [np.array, tuple, set, lambda ids: [np.int32(i) for i in ids], lambda ids: np.array(ids, float)]
)
def test_kinds_of_ids(make: Callable[[Any], Any]) -> None:
    gt, results = invented()
    coco = truth(fastdet.coco, gt)
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    evaluation.params.imgIds, evaluation.params.catIds = make([3, 1, 2]), make([9, 2])
    evaluation.evaluate()
    assert (evaluation.params.imgIds, evaluation.params.catIds) == ([1, 2, 3], [2, 9])


# The field `ignore`


def test_ignore_of_annotations_is_left_out_as_in_pycocotools() -> None:
    def script(api: Any, gt: Json, results: list[Json]) -> Any:
        assert sum(a["ignore"] for a in gt["annotations"]) > 5
        return quick(api, gt, results)

    assert_same(script, differs=False)


def test_ignored_annotations(tmp_path: Any) -> None:

    gt, _ = invented()
    want = [a["id"] for a in gt["annotations"] if a["ignore"] and not a["iscrowd"]]
    plain, packed, none = tmp_path / "gt.json", tmp_path / "gt.json.gz", tmp_path / "none.json"
    plain.write_text(json.dumps(gt))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    none.write_text(json.dumps({**gt, "annotations": []}))
    assert len(want) > 5
    for source in (gt, plain, str(packed), COCO(gt), COCO(plain)):
        assert fastdet.coco.ignored_annotations(source).tolist() == want
    assert fastdet.coco.ignored_annotations(none).tolist() == []
    gt["annotations"][3]["ignore"] = "no"
    with pytest.raises(fastdet.coco.FormatError, match=r'^COCO: annotations\[3\].ignore: expected 0 or 1, got "no"$'):
        fastdet.coco.ignored_annotations(gt)


SMALL = {
    "images": [{"id": 1}], "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}],
}  # fmt: skip


def test_steps_of_a_script_get_checked_data() -> None:
    """An own step does not switch off the checks of what is scored."""

    class Own(COCOeval):
        def computeIoU(self, imgId: int, catId: int) -> Any:
            return super().computeIoU(imgId, catId)

    def run(change: Callable[[Json], None], evaluator: type[COCOeval] = Own) -> None:
        data = COCO(SMALL)
        detections = data.loadRes([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}])
        change(detections.anns[1])
        evaluator(data, detections, "bbox").evaluate()

    for name, value in (("score", float("nan")), ("bbox", [0, 0, -9, 9]), ("bbox", [0, 0, 9]), ("score", "high")):
        with pytest.raises(ValueError, match=rf"annotations\[0\].{name}: expected"):
            run(lambda annotation, name=name, value=value: annotation.update({name: value}))

    class Unknown(COCOeval):
        def computeIoU(self, imgId: int, catId: int) -> Any:
            return np.asarray(super().computeIoU(imgId, catId)) * np.nan

    with pytest.raises(ValueError, match="computeIoU: must give numbers, got NaN"):
        run(lambda annotation: None, Unknown)


def test_more_detections_than_were_matched() -> None:
    """pycocotools gives -1; here the recall would be that of one detection."""
    data = COCO(SMALL)
    e = COCOeval(data, data.loadRes([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}]), "bbox")
    e.params.maxDets = [1]
    e.evaluate()
    e.params.maxDets = [1, 100]
    with pytest.raises(ValueError, match=r"params\.maxDets has grown to 100: call evaluate"):
        e.accumulate()


# Lists that are empty, and entries that do not fit


def _small() -> Any:
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}
    gt = COCO()
    gt.dataset = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "area": 25, "iscrowd": 0, **box}],
    }
    gt.createIndex()
    evaluation = COCOeval(gt, gt.loadRes([{**box, "score": 0.5}]), "bbox")
    evaluation.evaluate()
    return evaluation


def test_no_limits_before_accumulate() -> None:
    """pycocotools' empty tables, and an error of one line where a number is asked for."""
    evaluation = _small()
    evaluation.params.maxDets = []
    evaluation.accumulate()
    assert evaluation.eval["precision"].shape == (10, 101, 1, 4, 0)
    with pytest.raises(ValueError, match=r"summarize needs params\.maxDets, got an empty list"):
        evaluation.summarize()


@pytest.mark.parametrize("key", ["dtScores", "dtMatches", "dtIgnore"])
def test_an_entry_that_does_not_fit(key: str) -> None:
    evaluation = _small()
    evaluation.evalImgs[0][key] = [0.5, 0.2, 0.1]
    with pytest.raises(ValueError, match=r"COCOeval: dt\w+ of an entry of evalImgs must have shape \(10, \d\)"):
        evaluation.accumulate()
