"""PanopticMetrics against the panoptic API's figures and exact fractions; what it refuses."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from optional import DATA, need, real_data
from panoptic_maps import CATEGORIES, colours, exact, image

from fastdet.segmentation import PanopticMetrics
from fastdet.segmentation.segment_pairs import count_segment_pairs

GROUPS = {"All": "", "Things": "_things", "Stuff": "_stuff"}


def expected() -> list[tuple[str, str, str]]:
    """Each number of the sample's file, by where it stands; nothing where the data is absent."""
    path = DATA / "panoptic_sample" / "expected.json"
    if not path.exists():
        return [("All", "", "pq")]
    values = json.loads(path.read_text())
    rows = [(group, "", key) for group in GROUPS for key in values[group]]
    return rows + [("per_class", number, key) for number, row in values["per_class"].items() for key in row]


@pytest.fixture(scope="module")
def sample() -> tuple[dict[str, Any], dict[str, Any]]:
    """The panoptic API's figures of the sample, and fastdet's."""
    folder, picture = real_data("panoptic_sample"), need("PIL.Image")
    wanted, truth, guessed = (
        json.loads((folder / f"{x}.json").read_text()) for x in ("expected", "truth", "predicted")
    )
    guess_of = {record["image_id"]: record for record in guessed["annotations"]}
    metrics = PanopticMetrics(truth["categories"])

    def side(record: dict[str, Any], name: str) -> dict[str, Any]:
        ids = picture.open(folder / name / record["file_name"]).convert("RGB")
        return {"segmentation": ids, "segments_info": record["segments_info"]}

    for record in truth["annotations"]:
        prediction = side(guess_of[record["image_id"]], "predicted")
        metrics.update([prediction], [side(record, "panoptic_examples")])
    return wanted, metrics.compute()


@pytest.mark.parametrize(("group", "number", "key"), expected())
def test_each_figure_of_the_panoptic_api(sample: Any, group: str, number: str, key: str) -> None:
    wanted, got = sample
    if number:
        position = got["categories"].tolist().index(int(number))
        assert got[f"{key}_per_class"][position] == wanted[group][number][key]
    else:
        name = "counted" if key == "n" else key
        assert got[name + GROUPS[group]] == wanted[group][key]


def pair_maps(seed: int, shape: tuple[int, int], kind: str) -> Any:
    rng = np.random.default_rng(seed)
    ids = np.kron(rng.integers(0, 30, (shape[0] // 9 + 1, shape[1] // 40 + 1)), np.ones((9, 40), int))
    ids = ids[: shape[0], : shape[1]] * {"uint8": 1, "uint16": 997, "uint32": 132_000_001, "rgb": 500_001}[kind]
    ids = np.where(rng.random(shape) < 0.01, rng.integers(0, 250, shape), ids)
    return colours(ids) if kind == "rgb" else ids.astype(kind)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (3, 31), (1, 700), (61, 333)])
def test_pairs_of_segments(variant: str, shape: tuple[int, int]) -> None:
    kinds = ("uint8", "uint16", "uint32", "rgb")
    for a in kinds:
        for b in kinds:
            maps = pair_maps(1, shape, a), pair_maps(2, shape, b)
            got = count_segment_pairs(*maps, variant)
            want = count_segment_pairs(*maps, "reference")
            assert got.dtype == np.int64
            np.testing.assert_array_equal(got, want)
            assert got[:, 2].sum() == shape[0] * shape[1]


def test_many_pairs(variant: str) -> None:
    """More pairs than the first table holds, one a pixel."""
    ids = np.arange(90 * 100, dtype=np.uint32).reshape(90, 100)
    got = count_segment_pairs(ids[::-1].copy(), ids, variant)
    np.testing.assert_array_equal(got, count_segment_pairs(ids[::-1].copy(), ids, "reference"))
    assert len(got) == 9000


def test_exact_fractions(variant: str) -> None:
    images = [image(seed) for seed in range(12)]
    want = exact(images)
    metrics = PanopticMetrics(CATEGORIES, backend=variant)
    metrics.update([p for p, _ in images[:5]], [t for _, t in images[:5]])
    for prediction, target in images[5:]:
        metrics.update([prediction], [target])
    got = metrics.compute()
    assert sum(row["tp"] for row in want.values()) > 20
    pq = []
    for i, category in enumerate(CATEGORIES):
        if category["id"] == 7:
            assert np.isnan(got["pq_per_class"][i])
            continue
        row = want[category["id"]]
        names = ("true_positives", "false_positives", "false_negatives", "true_segments")
        assert [got[name][i] for name in names] == [row["tp"], row["fp"], row["fn"], row["segments"]]
        weight = row["tp"] + Fraction(row["fp"] + row["fn"], 2)
        pq.append(row["iou"] / weight)
        modified = pq[-1] if category["isthing"] else row["any"] / row["segments"]
        values = (pq[-1], row["iou"] / row["tp"], row["tp"] / weight, modified)
        for name, value in zip(("pq", "sq", "rq", "modified_pq"), values, strict=True):
            np.testing.assert_allclose(got[f"{name}_per_class"][i], float(value), rtol=4e-16)
    np.testing.assert_allclose(got["pq"], float(sum(pq) / 4), rtol=4e-16)
    assert (got["counted"], got["counted_things"], got["counted_stuff"]) == (4, 2, 2)
    assert (got["images"], got["pixels"]) == (12, 12 * 24 * 30)


def test_forms_of_maps() -> None:
    """Integers of any width, colours, tensors, images: one state."""
    prediction, target = image(3)
    want = PanopticMetrics(CATEGORIES).update([prediction], [target]).to_bytes()
    forms = [lambda x: x.astype(np.uint32), lambda x: x.tolist(), lambda x: np.asfortranarray(x), colours]
    forms += [lambda x: x.astype(">i4"), lambda x: np.repeat(x, 2, axis=1)[:, ::2]]
    torch, pillow = need("torch"), need("PIL.Image")
    forms += [torch.as_tensor, lambda x: torch.as_tensor(colours(x)), lambda x: pillow.fromarray(colours(x))]
    for form in forms:
        sides = [{**side, "segmentation": form(side["segmentation"])} for side in (prediction, target)]
        assert PanopticMetrics(CATEGORIES).update(sides[:1], sides[1:]).to_bytes() == want


def test_the_order_of_images_is_no_matter() -> None:
    images = [image(seed) for seed in range(20)]
    forward = PanopticMetrics(CATEGORIES).update(*map(list, zip(*images, strict=True)))
    backward = PanopticMetrics(CATEGORIES).update(*map(list, zip(*images[::-1], strict=True)))
    for key, value in forward.compute().items():
        np.testing.assert_array_equal(value, backward.compute()[key])


def test_void_and_crowd() -> None:
    """By hand: a union without void; a prediction of half void counts, of more does not; crowds of one category."""
    cat, dog = 3, 10
    truth = {
        "segmentation": np.array([[1, 1, 1, 0, 0, 2, 2, 3, 3, 4]]),
        "segments_info": [
            {"id": 1, "category_id": cat}, {"id": 2, "category_id": cat, "iscrowd": 1},
            {"id": 3, "category_id": cat, "iscrowd": True}, {"id": 4, "category_id": dog, "iscrowd": np.int64(0)},
        ],
    }  # fmt: skip

    def score(row: list[int], kinds: dict[int, int]) -> list[int]:
        info = [{"id": i, "category_id": kind, "iscrowd": 1} for i, kind in kinds.items()]
        metrics = PanopticMetrics(CATEGORIES)
        got = metrics.update([{"segmentation": np.array([row]), "segments_info": info}], [truth]).compute()
        sums = [got["sq_per_class"][0]] if got["true_positives"][0] else []
        return [int(got[name][0]) for name in ("true_positives", "false_positives", "false_negatives")] + sums

    assert score([5, 5, 0, 5, 5, 0, 0, 0, 0, 0], {5: cat}) == [1, 0, 0, 2 / 3]  # two of four are void
    assert score([0, 5, 0, 5, 0, 0, 0, 0, 0, 0], {5: cat}) == [0, 1, 1]  # half void: counts
    assert score([0, 5, 0, 5, 5, 0, 0, 0, 0, 0], {5: cat}) == [0, 0, 1]
    assert score([0, 0, 5, 0, 0, 5, 0, 5, 0, 0], {5: cat}) == [0, 0, 1]  # two crowds together are more than half
    assert score([0, 0, 0, 0, 0, 6, 6, 6, 0, 0], {6: dog}) == [0, 0, 1]  # the crowd of another category does not
    dogs = {
        "segmentation": np.array([[0, 0, 0, 0, 0, 6, 6, 6, 0, 0]]),
        "segments_info": [{"id": 6, "category_id": dog}],
    }
    assert PanopticMetrics(CATEGORIES).update([dogs], [truth]).compute()["false_positives"][1] == 1


Change = Any


def wrong(change: Change) -> None:
    prediction, target = image(0)
    sides = {"predictions": [dict(prediction)], "targets": [dict(target)]}
    for side in (*sides["predictions"], *sides["targets"]):
        side["segments_info"] = [dict(record) for record in side["segments_info"]]
    change(sides)
    metrics = PanopticMetrics(CATEGORIES).update([prediction], [target])
    before = metrics.to_bytes()
    try:
        metrics.update(**sides)
    finally:
        assert metrics.to_bytes() == before


def put(side: str, i: int, key: str, value: Any) -> Change:
    return lambda sides: sides[side][0]["segments_info"][i].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (put("targets", 1, "category_id", 5), ValueError, r"targets\[0\].segments_info\[1\].category_id must be a k"),
        (put("targets", 1, "category_id", 3.0), TypeError, r"targets\[0\].segments_info\[1\].category_id must be an"),
        (put("predictions", 2, "id", "7"), TypeError, r"segments_info\[2\].id must be an integer, got '7'"),
        (put("predictions", 2, "id", 0), ValueError, r"predictions\[0\].segments_info\[2\].id must be in \[1, "),
        (put("predictions", 0, "id", True), TypeError, r"segments_info\[0\].id must be an integer, got True"),
        (put("targets", 0, "iscrowd", 2), ValueError, r"targets\[0\].segments_info\[0\].iscrowd must be 0 or 1, got 2"),
        (lambda s: s["targets"][0]["segments_info"][1].pop("category_id"), ValueError, r"\[1\].category_id is missing"),
        (lambda s: s["targets"][0]["segments_info"].pop(1), ValueError,
         r"targets\[0\].segmentation must hold ids of segments_info or 0, got \d+ at row \d+, column \d+"),
        (lambda s: s["predictions"][0]["segments_info"].append({"id": 1, "category_id": 3}), ValueError,
         r"predictions\[0\].segments_info\[\d+\].id must have pixels in the map, got 1 with none"),
        (lambda s: s["targets"][0]["segments_info"].append(s["targets"][0]["segments_info"][0]), ValueError, "unique"),
        (lambda s: s["targets"][0]["segments_info"].append([1, 2]), TypeError, r"must be a dictionary, got \[1, 2\]"),
        (lambda s: s["targets"][0].update(segments_info={}), TypeError, "must be a list of segments, got {}"),
        (lambda s: s["targets"][0].pop("segmentation"), ValueError, r"targets\[0\] must have the key 'segm"),
        (lambda s: s["targets"][0].update(segmentation=np.zeros((3, 4))), TypeError, "must hold integers, got float64"),
        (lambda s: s["targets"][0].update(segmentation=np.zeros(3, int)), ValueError, r"shape \(H, W\), or \(H, W, "),
        (lambda s: s["targets"][0].update(segmentation=np.zeros((2, 2, 3), int)), TypeError, "must be uint8 where it"),
        (lambda s: s["targets"][0].update(segmentation=np.array([[0, -1]])), ValueError, "got -1 at row 0, column 1"),
        (lambda s: s["targets"][0].update(segmentation=np.array([[2**32]])), ValueError, r"ids in \[0, 2\*\*32\), got"),
        (lambda s: s["targets"].append(s["targets"][0]), ValueError, r"targets must be as many as predictions \(1\)"),
        (lambda s: s.update(targets=s["targets"][0]), TypeError, "targets must be a list of dictionaries, got dict"),
        (lambda s: s["targets"].__setitem__(0, 3), TypeError, r"targets\[0\] must be a dictionary, got 3"),
        (lambda s: s["predictions"][0].update(segmentation=np.zeros((3, 4), int)), ValueError,
         r"predictions\[0\].segmentation must have the target's \(24, 30\) pixels, got \(3, 4\)"),
    ],
)  # fmt: skip
def test_wrong_images(change: Change, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"PanopticMetrics.update: .*{text}"):
        wrong(change)


@pytest.mark.parametrize(
    ("categories", "error", "text"),
    [
        ([], ValueError, "categories must hold at least one category, got none"),
        ({"id": 3}, TypeError, "categories must be a list of dictionaries"),
        ([3], TypeError, r"categories\[0\] must be a dictionary, got 3"),
        ([{"id": 3}], ValueError, r"categories\[0\].isthing is missing"),
        ([{"id": 3, "isthing": 2}], ValueError, r"categories\[0\].isthing must be 0 or 1, got 2"),
        ([{"id": -1, "isthing": 1}], ValueError, r"categories\[0\].id must be in \[0, 2\*\*63\), got -1"),
        ([{"id": 1, "isthing": 1, "name": 3}], TypeError, r"categories\[0\].name must be a string, got 3"),
        ([{"id": 1, "isthing": 1}] * 2, ValueError, "categories must have an id each, got 1 twice"),
    ],
)
def test_wrong_categories(categories: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"PanopticMetrics: {text}"):
        PanopticMetrics(categories)
    with pytest.raises(ValueError, match="backend must be one of"):
        PanopticMetrics(CATEGORIES, backend="gpu")


@pytest.mark.parametrize("name", ["rows", "pixels", "category", "counts", "sums"])
def test_bytes_that_make_no_sense(name: str) -> None:
    from fastdet._core import metric

    metrics = PanopticMetrics(CATEGORIES).update(*map(list, zip(image(0), image(1), strict=True)))
    good = metrics._arrays()

    def sealed(arrays: dict[str, Any]) -> bytes:
        return metric.encode("PanopticMetrics", metrics._shared(), {}, arrays)

    assert PanopticMetrics.from_bytes(sealed(good)).to_bytes() == metrics.to_bytes()
    for x in (good[name] - 99, good[name][:-1], good[name].astype(np.uint32), good[name].ravel()[None]):
        with pytest.raises(ValueError, match="from_bytes: data must be a state from to_bytes, got an inconsistent one"):
            PanopticMetrics.from_bytes(sealed({**good, name: x}))
    with pytest.raises(ValueError, match="inconsistent"):
        PanopticMetrics.from_bytes(sealed({k: x for k, x in good.items() if k != name}))
