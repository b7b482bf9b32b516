"""Masks and keypoints of COCO's JSON: what both readers return, and the one-line error of a wrong record."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import real_data

from fastdet._files.coco import coco_content, read_coco, read_coco_results
from fastdet._files.coco_shapes import Held
from fastdet._files.errors import FormatError
from fastdet.masks import RLE, from_polygons, to_boxes

SQUARE = [1, 0, 3, 0, 3, 2, 1, 2]  # columns 1 and 2 of an image of two rows and four columns
TEXT = RLE([[2, 4]], [2, 4, 2], [0, 3]).to_coco()[0]["counts"].decode()
IMAGES = [{"id": 7, "width": 4, "height": 2}, {"id": 8}]
CATEGORIES = [{"id": 1, "name": "a"}]
POINTS = [10, 20, 2, 14, 26, 1, 0, 0, 0]


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), "utf-8")
    return path


def data_set(*records: dict[str, Any], first: bool = True) -> dict[str, Any]:
    """A data set; with ``first`` the images stand before the annotations."""
    filled = [{"id": i + 1, "image_id": 7, "category_id": 1, **record} for i, record in enumerate(records)]
    sections = {"images": IMAGES, "annotations": filled, "categories": CATEGORIES}
    return sections if first else dict(reversed(sections.items()))


def results(*records: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"image_id": 7, "category_id": 1, "score": 0.5, **record} for record in records]


SIZES = np.array([7, 8]), np.array([[4, 2], [0, 0]])
FORMS: list[Any] = [
    [SQUARE],
    {"size": [2, 4], "counts": TEXT},
    {"size": [2, 4], "counts": [2, 4, 2]},
    {"counts": [2.0, 4, 2e0], "more": [1], "size": [2.0, 4]},
    [[1, 0, 2, 0, 2, 2, 1, 2], [2, 0, 3, 0, 3, 2, 2, 2]],
]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("first", [True, False])
def test_masks_of_every_form(tmp_path: Path, first: bool) -> None:
    records = [{"segmentation": form, "bbox": [1, 0, 2, 2], "area": 5} for form in FORMS]
    data = read_coco(write(tmp_path / "a.json", data_set(*records, first=first)), iou_type="segm")
    assert data.truth.masks is not None
    assert [data.truth.masks.runs(i).tolist() for i in range(len(FORMS))] == [[2, 4, 2]] * len(FORMS)
    assert data.truth.masks.sizes.tolist() == [[2, 4]] * len(FORMS)
    assert data.truth.areas.tolist() == [5] * len(FORMS)
    assert data.truth.keypoints is None
    path = write(tmp_path / "b.json", results(*({"segmentation": form} for form in FORMS)))
    found = read_coco_results(path, data, iou_type="segm")
    assert found.masks == data.truth.masks
    assert found.boxes.tolist() == [[1, 0, 2, 2]] * len(FORMS)
    assert found.areas.tolist() == [4] * len(FORMS)


@pytest.mark.usefixtures("reader")
def test_boxes_and_areas_that_truth_lacks(tmp_path: Path) -> None:
    records = [
        {"segmentation": [SQUARE]},
        {"segmentation": [SQUARE], "bbox": [0, 0, 9, 9]},
        {"segmentation": [SQUARE], "bbox": None, "area": 3},
        {"segmentation": {"size": [2, 4], "counts": [8]}, "bbox": []},
    ]
    truth = coco_content(write(tmp_path / "a.json", data_set(*records)), "data set", iou_type="segm").boxes
    assert truth.boxes.tolist() == [[1, 0, 2, 2], [0, 0, 9, 9], [1, 0, 2, 2], [0, 0, 0, 0]]
    assert truth.areas.tolist() == [4, 4, 3, 0]
    records = [{"keypoints": POINTS}, {"keypoints": POINTS, "bbox": [0, 0, 3, 4]}, {"keypoints": POINTS, "area": 6}]
    truth = coco_content(write(tmp_path / "a.json", data_set(*records)), "data set", iou_type="keypoints").boxes
    assert truth.boxes.tolist() == [[0, 0, 14, 26], [0, 0, 3, 4], [0, 0, 14, 26]]
    assert truth.areas.tolist() == [14 * 26, 12, 6]
    assert truth.masks is None


@pytest.mark.usefixtures("reader")
def test_truth_without_visible_keypoints_is_ignored(tmp_path: Path) -> None:
    hidden = [5, 6, 0] * 3
    records = [
        {"keypoints": POINTS, "num_keypoints": 2},
        {"keypoints": POINTS, "num_keypoints": 0},
        {"keypoints": POINTS},
        {"keypoints": hidden},
        {"keypoints": hidden, "num_keypoints": 1, "iscrowd": 1},
        {"keypoints": hidden, "num_keypoints": 0, "iscrowd": 1},
    ]
    truth = read_coco(write(tmp_path / "a.json", data_set(*records)), iou_type="keypoints").truth
    assert truth.flags.tolist() == [0, 2, 0, 2, 1, 3]
    assert truth.keypoints is not None
    assert truth.keypoints.tolist() == [np.reshape(record["keypoints"], (3, 3)).tolist() for record in records]


@pytest.mark.usefixtures("reader")
def test_the_first_record_of_results_decides(tmp_path: Path) -> None:
    """As pycocotools' loadRes: by bbox, else segmentation, else keypoints."""
    mask, box = {"segmentation": {"size": [2, 4], "counts": TEXT}}, {"bbox": [0, 0, 3, 3]}
    points = {"keypoints": [1.5, 2, 0.9, 4, 1, 0, 3, 7.5, -1]}

    def read(iou_type: str, *records: dict[str, Any]) -> Any:
        path = write(tmp_path / "a.json", results(*records))
        content = coco_content(path, "results", iou_type=iou_type, sizes=SIZES)
        return content.decided, content.boxes.areas.tolist(), content.boxes.boxes.tolist()

    extent = [1.5, 1, 2.5, 6.5]
    assert read("segm", {**mask, **box}) == ("bbox", [9], [[0, 0, 3, 3]])
    assert read("segm", {**mask, "bbox": []}, {**mask, **box}, mask) == (
        "segmentation", [4, 4, 4], [[1, 0, 2, 2], [0, 0, 3, 3], [1, 0, 2, 2]],
    )  # fmt: skip
    assert read("keypoints", {**points, **box}) == ("bbox", [9], [[0, 0, 3, 3]])
    assert read("keypoints", points, {**points, **box}) == ("keypoints", [2.5 * 6.5] * 2, [extent, extent])
    assert read("keypoints", {**points, **mask}, {**mask, **points}) == ("segmentation", [4, 4], [[1, 0, 2, 2]] * 2)
    assert read("auto", mask) == read("segm", mask)
    assert read("auto", points) == read("keypoints", points)
    assert read("bbox", {**box, **mask, **points}) == ("", [9], [[0, 0, 3, 3]])
    for kind in ("bbox", "segm", "keypoints", "auto"):
        assert read(kind) == ("", [], [])


@pytest.mark.usefixtures("reader")
def test_what_records_hold(tmp_path: Path) -> None:
    mask, box, points = {"segmentation": [SQUARE]}, {"bbox": [0, 0, 3, 3]}, {"keypoints": POINTS}
    empty = {"segmentation": [], "keypoints": None}
    path = write(tmp_path / "a.json", results({**box, **mask}, {**points, **box}, {**box, **empty}, {**box, **mask}))
    content = coco_content(path, "results", iou_type="auto", sizes=SIZES)
    assert content.held == Held(4, 2, 1)
    assert content.boxes.masks is content.boxes.keypoints is None
    assert coco_content(path, "results").held == Held(4, 2, 1)
    path = write(tmp_path / "b.json", results({**box, **mask, **points}, {**points, **mask, **box}))
    content = coco_content(path, "results", iou_type="auto", sizes=SIZES)
    assert content.held == Held(2, 2, 2)
    assert content.boxes.masks == from_polygons([[SQUARE]] * 2, (2, 4))
    assert content.boxes.keypoints is not None
    path = write(tmp_path / "c.json", data_set({**box, **mask}, {**box, **empty}))
    assert coco_content(path, "data set").held == Held(2, 1, 0)
    with pytest.raises(
        ValueError, match="iou_type must be bbox, segm, keypoints, any, or auto for results, got 'auto'"
    ):
        coco_content(path, "data set", iou_type="auto")


RLES = "segmentation.counts: "
WRONG_MASKS: list[tuple[Any, str]] = [
    (5, "segmentation: expected polygons or run lengths, got 5"),
    ("x", 'segmentation: expected polygons or run lengths, got "x"'),
    (None, "segmentation: expected polygons or run lengths, got null"),
    ([], "segmentation: expected polygons or run lengths, got an empty list"),
    (SQUARE, "segmentation: expected polygons, lists of x1 y1 x2 y2 ..., got 1"),
    ([{}], "segmentation: expected polygons, lists of x1 y1 x2 y2 ..., got an object"),
    ([SQUARE, []], "segmentation: expected polygons of x1 y1 x2 y2 x3 y3 ..., got 0 numbers"),
    ([[1, 2, 3, 4]], "segmentation: expected polygons of x1 y1 x2 y2 x3 y3 ..., got 4 numbers"),
    ([[*SQUARE, 1]], "segmentation: expected polygons of x1 y1 x2 y2 x3 y3 ..., got 9 numbers"),
    ([[*SQUARE, 1, "2"]], 'segmentation: expected numbers as corners of polygons, got "2"'),
    ([[*SQUARE, 1, True]], "segmentation: expected numbers as corners of polygons, got true"),
    ([[*SQUARE, 1, [2]]], "segmentation: expected numbers as corners of polygons, got a list"),
    ([[*SQUARE, 1, -3e9]], "segmentation: expected corners of polygons up to 2**28, got -3e+09"),
    ({"size": [2, 4]}, RLES + "expected text or a list of integers, got no such field"),
    ({"counts": TEXT}, "segmentation.size: expected height and width, got no such field"),
    ({"size": 5, "counts": TEXT}, "segmentation.size: expected height and width, got 5"),
    ({"size": [], "counts": TEXT}, "segmentation.size: expected height and width, got 0 numbers"),
    ({"size": [1], "counts": TEXT}, "segmentation.size: expected height and width, got 1 number"),
    ({"size": [2, 4, 1], "counts": TEXT}, "segmentation.size: expected height and width, got 3 numbers"),
    ({"size": [2, 4.5], "counts": TEXT}, "segmentation.size: expected height and width, got 4.5"),
    ({"size": [2, -4], "counts": TEXT}, "segmentation.size: expected sides from 0 to 2**32 - 1, got -4"),
    ({"size": [65536, 65536], "counts": [0]},
     "segmentation.size: expected fewer than 2**32 pixels, got 65536 x 65536"),
    ({"size": [4, 2], "counts": TEXT},
     "segmentation.size: expected the image's height and width, 2 x 4, got 4 x 2"),
    ({"size": [2, 4], "counts": [2, 4, 1]}, RLES + "expected a sum of 2 x 4 = 8, got 7"),
    ({"size": [2, 4], "counts": []}, RLES + "expected a sum of 2 x 4 = 8, got 0"),
    ({"size": [2, 4], "counts": ""}, RLES + "expected a sum of 2 x 4 = 8, got 0"),
    ({"size": [2, 4], "counts": [2, -4, 10]}, RLES + "expected counts in [0, 2**32), got -4"),
    ({"size": [2, 4], "counts": [2**32]}, RLES + "expected counts in [0, 2**32), got 4294967296"),
    ({"size": [2, 4], "counts": [2, 4.5, 2]}, RLES + "expected integers, got 4.5"),
    ({"size": [2, 4], "counts": [2, None]}, RLES + "expected integers, got null"),
    ({"size": [2, 4], "counts": {}}, RLES + "expected text or a list of integers, got an object"),
    ({"size": [2, 4], "counts": "Q"}, RLES + "the text ends within a number"),
    ({"size": [2, 4], "counts": TEXT + "p"}, RLES + "expected characters from '0' to 'o', got byte 112 at 3"),
    ({"size": [2, 4], "counts": TEXT + "/"}, RLES + "expected characters from '0' to 'o', got byte 47 at 3"),
    ({"size": [2, 4], "counts": "é"}, RLES + "expected characters from '0' to 'o', got byte 195 at 0"),
    ({"size": [2, 4], "counts": "PPPPPPPPP0"}, RLES + "expected numbers of 32 bits, got a longer one at 7"),
    ({"size": [2, 4], "counts": "O"}, RLES + "expected runs in [0, 2**32), got -1"),
]  # fmt: skip


def error(read: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(FormatError) as caught:
        read(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(("value", "text"), WRONG_MASKS)
def test_wrong_masks(tmp_path: Path, value: Any, text: str) -> None:
    good, box = {"segmentation": [SQUARE], "bbox": [1, 0, 2, 2]}, {"bbox": [1, 0, 2, 2]}
    for first in (True, False):
        path = write(tmp_path / "a.json", data_set(good, {**box, "segmentation": value}, first=first))
        assert error(coco_content, path, "data set", iou_type="segm") == f"{path}: annotations[1].{text}"
    path = write(tmp_path / "a.json", results(good, {**box, "segmentation": value}))
    for iou_type in ("segm", "auto"):
        if iou_type == "segm" or value not in (None, []):
            said = error(coco_content, path, "results", iou_type=iou_type, sizes=SIZES)
            assert said == f"{path}: results[1].{text}"
    assert len(coco_content(path, "results").boxes.image) == 2  # nothing is wrong with the boxes


POINT = "x, y and visibility of each point"
WRONG_POINTS: list[tuple[Any, str]] = [
    (5, f"keypoints: expected {POINT}, got 5"),
    (None, f"keypoints: expected {POINT}, got null"),
    ([], f"keypoints: expected {POINT}, got 0 numbers"),
    ([1], f"keypoints: expected {POINT}, got 1 number"),
    (POINTS[:8], f"keypoints: expected {POINT}, got 8 numbers"),
    (POINTS[:6], "keypoints: expected 9 numbers, as other records have, got 6 numbers"),
    ([*POINTS[:8], "0"], f'keypoints: expected {POINT}, got "0"'),
    ([True, *POINTS[1:]], f"keypoints: expected {POINT}, got true"),
    ([[1, 2, 2]] * 3, f"keypoints: expected {POINT}, got a list"),
]
WRONG_TRUE_POINTS: list[tuple[Any, str]] = [
    ([*POINTS[:8], 3], "keypoints: expected a visibility of 0, 1 or 2, got 3"),
    ([*POINTS[:8], 0.5], "keypoints: expected a visibility of 0, 1 or 2, got 0.5"),
    ([*POINTS[:8], -1], "keypoints: expected a visibility of 0, 1 or 2, got -1"),
]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(("value", "text"), [*WRONG_POINTS, *WRONG_TRUE_POINTS])
def test_wrong_keypoints(tmp_path: Path, value: Any, text: str) -> None:
    good = {"keypoints": POINTS, "bbox": [1, 0, 2, 2]}
    path = write(tmp_path / "a.json", data_set(good, {**good, "keypoints": value}))
    assert error(coco_content, path, "data set", iou_type="keypoints") == f"{path}: annotations[1].{text}"
    path = write(tmp_path / "a.json", results(good, {**good, "keypoints": value}))
    if (value, text) in WRONG_TRUE_POINTS:
        assert coco_content(path, "results", iou_type="keypoints").boxes.keypoints is not None
        return
    for iou_type in ("keypoints", "auto"):
        if iou_type == "keypoints" or value not in (None, []):
            assert error(coco_content, path, "results", iou_type=iou_type) == f"{path}: results[1].{text}"


@pytest.mark.usefixtures("reader")
def test_other_wrong_records(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    mask, points, box = {"segmentation": [SQUARE]}, {"keypoints": POINTS}, {"bbox": [0, 0, 3, 3]}
    rle = {"segmentation": {"size": [2, 4], "counts": TEXT}}
    masks_of, none = "expected polygons or run lengths, got ", "no such field"
    for content, iou_type, text in (
        (results(rle, box), "segm", f"results[1].segmentation: {masks_of}{none}"),
        (results(rle, box), "auto", f"results[1].segmentation: {masks_of}{none}"),
        (results({**rle, **box}, rle), "segm", f"results[1].bbox: expected four numbers, got {none}"),
        (results({**points, **rle}, points), "keypoints", f"results[1].segmentation: {masks_of}{none}"),
        (results(points, rle), "keypoints", f"results[1].keypoints: expected {POINT}, got {none}"),
        (results({}), "auto", "results[0]: expected bbox, segmentation or keypoints, got none of them"),
        (results({**rle, **box}, {**rle, "bbox": []}), "segm",
         "results[1].bbox: expected four numbers, got 0 numbers"),
        (results(mask), "segm",
         "results[0].segmentation: expected run lengths, got polygons of image 7, whose size is not known"),
        (data_set(points, mask), "segm", f"annotations[0].segmentation: {masks_of}{none}"),
        (data_set(points, mask), "keypoints", f"annotations[1].keypoints: expected {POINT}, got {none}"),
        (data_set({**points, "num_keypoints": 1.5}), "keypoints",
         "annotations[0].num_keypoints: expected an integer, got 1.5"),
        (data_set(mask, {**mask, "image_id": 9}), "segm",
         "annotations[1].image_id: expected an image of the file, got 9"),
        (data_set({**mask, "image_id": 8}), "segm",
         "annotations[0].segmentation: expected run lengths, got polygons of image 8, whose size is not known"),
    ):  # fmt: skip
        write(path, content)
        kind = "results" if isinstance(content, list) else "data set"
        assert error(coco_content, path, kind, iou_type=iou_type) == f"{path}: {text}"
    large = {**data_set(mask), "images": [{"id": 7, "width": 2**17, "height": 2**16}]}
    assert error(coco_content, write(path, large), "data set", iou_type="segm") == (
        f"{path}: annotations[0].segmentation: expected an image of fewer than 2**32 pixels, got 65536 x 131072"
    )
    twice = '[{"image_id": 7, "category_id": 1, "score": 1, "segmentation": {"size": [2, 4], "size": [2, 4]}}]'
    path.write_text(twice)
    assert error(coco_content, path, "results", iou_type="segm") == (
        f"{path}: results[0].segmentation.size: expected once, got the key twice"
    )
    path.write_text(json.dumps(results(mask))[:-2] + ', "segmentation": []}]')
    said = error(coco_content, path, "results", iou_type="segm", sizes=SIZES)
    assert said == f"{path}: results[0].segmentation: expected once, got the key twice"
    write(path, [{"image_id": "a.jpg", "category_id": 1, "score": 1, **mask}])
    said = error(coco_content, path, "results", iou_type="segm", sizes=SIZES, string_ids=True)
    assert said.endswith("expected run lengths, got polygons of image with a name, whose size is not known")


@pytest.mark.usefixtures("reader")
def test_texts_at_every_place_of_the_buffer(tmp_path: Path) -> None:
    """Backslashes, which JSON escapes, are characters of COCO's texts; a text may lie over the buffer's end."""
    r = np.random.default_rng(0)
    records, counts = [], []
    for i in range(700):
        runs = r.integers(0, 4 ** r.integers(1, 12), r.integers(1, 200))
        counts.append(runs)
        text = RLE([[int(runs.sum()), 1]], runs, [0, len(runs)]).to_coco()[0]["counts"].decode()
        escaped = json.dumps(text)[1:-1] if i % 50 != 7 else "".join(f"\\u{ord(c):04x}" for c in text)
        records.append(
            f'{{"image_id":7,"category_id":1,"score":1,"segmentation":{{"size":[{runs.sum()},1],"counts":"{escaped}"}}}}'
        )
    path = tmp_path / "a.json"
    path.write_text("[" + ",".join(records) + "]")
    assert path.stat().st_size > 1 << 18
    found = coco_content(path, "results", iou_type="segm").boxes.masks
    assert found is not None
    assert found.counts.tolist() == np.concatenate(counts).tolist()


@pytest.mark.usefixtures("reader")
def test_skipping_invalid_records(tmp_path: Path) -> None:
    from fastdet._files.errors import Faults

    good = {"segmentation": [SQUARE], "bbox": [1, 0, 2, 2]}
    faults = Faults(skip=True)
    wrong = [{**good, "segmentation": [[1, 2]]}, {**good, "image_id": 99}]
    path = write(tmp_path / "a.json", data_set(good, wrong[0], good, wrong[1]))
    content = coco_content(path, "data set", iou_type="segm", faults=faults)
    assert content.boxes.ids.tolist() == [1, 3]
    assert [text.split(": ")[1] for text in faults.texts] == ["annotations[1].segmentation", "annotations[3].image_id"]
    faults = Faults(skip=True)
    path = write(tmp_path / "b.json", results(good, *wrong, {**good, "bbox": []}, good))
    content = coco_content(path, "results", iou_type="segm", faults=faults, sizes=SIZES)
    assert len(content.boxes.image) == 2
    assert content.decided == "bbox"


@pytest.mark.usefixtures("reader")
def test_a_limit_of_what_polygons_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few corners draw a run for each column that an edge passes."""
    monkeypatch.setenv("FASTDET_LIMITS", "runs=10000")
    zigzag = [x for k in range(50) for x in (1000 * (k % 2), k)]
    document = {**data_set({"segmentation": [zigzag]}), "images": [{"id": 7, "width": 1000, "height": 60}]}
    path = write(tmp_path / "a.json", document)
    said = error(coco_content, path, "data set", iou_type="segm")
    assert said == (
        f"{path}: annotations[0].segmentation: expected at most 10000 runs of polygons, got more: "
        "FASTDET_LIMITS=runs=20000 raises the limit"
    )
    monkeypatch.setenv("FASTDET_LIMITS", "runs=100000")
    assert coco_content(path, "data set", iou_type="segm").boxes.masks is not None


@pytest.mark.usefixtures("reader")
def test_real_files(tmp_path: Path) -> None:
    """The masks, boxes and areas are those that pycocotools' functions give, as `fastdet.masks` computes them."""
    folder = real_data("coco_val2014_100")
    path = folder / "instances_val2014_100.json"
    data = read_coco(path, iou_type="segm")
    assert data.truth.masks is not None
    sizes = dict(zip(data.images.tolist(), data.sizes.tolist(), strict=True))
    annotations = json.loads(path.read_text())["annotations"]
    for i in range(0, len(annotations), 20):
        a = annotations[i]
        width, height = sizes[a["image_id"]]
        wanted = (
            from_polygons([a["segmentation"]], (height, width))
            if not a["iscrowd"]
            else RLE.from_coco(a["segmentation"])
        )
        assert data.truth.masks[i] == wanted
    path = folder / "instances_val2014_fakesegm100_results.json"
    found = read_coco_results(path, data, iou_type="segm")
    assert found.masks == RLE.from_coco([record["segmentation"] for record in json.loads(path.read_text())])
    corners = to_boxes(found.masks)
    assert np.array_equal(found.boxes, np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1))
    packed = tmp_path / "a.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert coco_content(packed, "results", iou_type="auto").boxes.masks == found.masks


@pytest.mark.usefixtures("reader")
def test_real_keypoints() -> None:
    folder = real_data("coco_keypoints_10")
    truth = read_coco(folder / "gt_dataset.json", iou_type="keypoints").truth
    records = json.loads((folder / "gt_dataset.json").read_text())["annotations"]
    assert truth.keypoints is not None
    assert truth.keypoints.reshape(-1, 51).tolist() == [record["keypoints"] for record in records]
    assert [bool(flags & 2) for flags in truth.flags] == [record["num_keypoints"] == 0 for record in records]
    found = coco_content(folder / "dt_dataset.json", "results", iou_type="keypoints")
    assert (found.decided, found.held) == ("bbox", Held(128, 0, 128))
    found = coco_content(
        real_data("crowdpose_sample") / "example_crowdpose_preds.json", "results", iou_type="keypoints"
    )
    assert (found.decided, found.held) == ("keypoints", Held(0, 0, 15))
    points = found.boxes.keypoints
    assert points is not None
    extent = np.ptp(points[:, :, :2], axis=1)
    assert found.boxes.areas.tolist() == (extent[:, 0] * extent[:, 1]).tolist()
