"""`fastdet evaluate` of masks, keypoints and LVIS: what is scored, each kind's table, and refused mixtures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_forms import Capture, fails, scored, shown
from optional import need, real_data

MASK = {"size": [4, 5], "counts": [1, 2, 17]}
POLYGON = [[0, 0, 3, 0, 3, 3, 0, 3]]
POINTS = [1, 1, 2, 3, 1, 2, 2, 3, 2]
WHOLE: dict[str, Any] = {"bbox": [0, 0, 3, 3], "segmentation": POLYGON, "keypoints": POINTS}


def write(folder: Path, results: list[dict[str, Any]], truth: dict[str, Any] | None = None) -> tuple[Path, Path]:
    """A data set of two images with an object each, and results of both images in turn."""
    objects = [
        {"id": i, "image_id": i, "category_id": 1, "area": 5, **(WHOLE if truth is None else truth)} for i in (1, 2)
    ]
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 5, "height": 4} for i in (1, 2)]
    data = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "a"}]}
    (folder / "gt.json").write_text(json.dumps(data))
    listed = [{"image_id": 1 + i % 2, "category_id": 1, "score": 0.5, **record} for i, record in enumerate(results)]
    (folder / "dt.json").write_text(json.dumps(listed))
    return folder / "gt.json", folder / "dt.json"


def part(*fields: str) -> dict[str, Any]:
    return {field: WHOLE[field] for field in fields}


SIGMAS = "--sigmas", "0.1,0.1,0.1"


def test_what_the_detections_hold(tmp_path: Path, capsys: Capture) -> None:
    def kinds(*fields: str, truth: dict[str, Any] | None = None) -> tuple[list[str], list[str]]:
        result = scored(capsys, *write(tmp_path, [part(*fields)] * 2, truth), *SIGMAS)
        every = {result["kind"]: result, **result.get("also", {})}
        assert all(of["map"] == pytest.approx(1) and of["true_boxes"] == 2 for of in every.values())
        return list(every), result["notes"]

    assert kinds("bbox") == (["boxes"], [])
    assert kinds("segmentation") == (["masks"], [])
    assert kinds("keypoints") == (["keypoints"], [])
    assert kinds("bbox", "segmentation") == (["boxes", "masks"], [])
    assert kinds("bbox", "segmentation", "keypoints") == (["boxes", "masks", "keypoints"], [])
    assert kinds("segmentation", "keypoints", truth=part("segmentation", "keypoints")) == (["masks", "keypoints"], [])
    found, notes = kinds("bbox", "segmentation", truth={**part("bbox"), "segmentation": []})
    assert (found, notes) == (
        ["boxes"], [f"{tmp_path / 'gt.json'}: 0 of 2 annotations have segmentation: masks are not scored"],
    )  # fmt: skip
    found, notes = kinds("bbox", "keypoints", truth=part("keypoints"))
    assert (found, len(notes)) == (["keypoints"], 1)


def test_a_kind_that_is_chosen(tmp_path: Path, capsys: Capture) -> None:
    files = write(tmp_path, [{**WHOLE, "bbox": [0, 0, 1, 1]}] * 2)
    for kind, value in (("boxes", 0), ("masks", 1), ("boundary", 1), ("keypoints", 1)):
        result = scored(capsys, *files, "--kind", kind, *(SIGMAS if kind == "keypoints" else ()))
        assert (result["kind"], result["map"]) == (kind, pytest.approx(value))
        assert "also" not in result
    files = write(tmp_path, [part("segmentation")] * 2)  # boxes of masks
    assert scored(capsys, *files, "--kind", "boxes")["map"] == pytest.approx(1)
    files = write(tmp_path, [part("bbox")] * 2)
    assert fails(capsys, *files, "--kind", "masks") == (
        f"{files[1]}: results[0].segmentation: expected polygons or run lengths, got no such field"
    )


def test_mixtures_are_refused(tmp_path: Path, capsys: Capture) -> None:
    files = write(tmp_path, [part("bbox", "segmentation"), part("bbox")])
    text = (
        f"{files[1]}: expected 2 records of one kind, got bbox in 2, segmentation in 1: --kind chooses what is scored"
    )
    assert fails(capsys, *files) == text
    assert scored(capsys, *files, "--kind", "boxes")["map"] == pytest.approx(1)
    files = write(tmp_path, [part("bbox"), part("bbox", "keypoints")])
    assert "got bbox in 2, keypoints in 1" in fails(capsys, *files)
    files = write(tmp_path, [part("bbox"), part("segmentation")])
    assert fails(capsys, *files) == f"{files[1]}: results[1].bbox: expected four numbers, got no such field"


def test_wrong_use(tmp_path: Path, capsys: Capture) -> None:
    files = write(tmp_path, [WHOLE] * 2)
    for options, text in (
        (("--kind", "faces"), "evaluate: --kind must be one of boxes, masks, boundary, keypoints, rotated, got faces"),
        (("--kind", "keypoints"), "evaluate: --sigmas must be given for 3 keypoints: coco is for 17, crowdpose for 14"),
        (("--kind", "keypoints", "--sigmas", "1,2"),
         "evaluate: --sigmas must be 3 numbers, one for each keypoint, got 2"),
        (("--kind", "keypoints", "--sigmas", "wide"),
         "evaluate: --sigmas must be coco, crowdpose, or numbers above 0, got wide"),
        (("--kind", "masks", "--sigmas", "coco"), "evaluate: --sigmas goes with keypoints, got --kind masks"),
        (("--iou", ""), "evaluate: --iou must be numbers, or FIRST:LAST:STEP, got"),
        (("--max-dets", ""), "evaluate: --max-dets must be integers, or all, got"),
        (("--areas", ""), "evaluate: --areas must be of all, small, medium, large, or NAME=MIN:MAX, got"),
        (("--kind", "masks", "--inclusive"), "evaluate: --inclusive goes with boxes, got masks"),
        (("--errors", "--engine", "ray"), "evaluate: --errors does not go with --engine ray"),
        (("--kind", "boxes", "--rule", "lvis"),
         "evaluate: --rule lvis goes with a LVIS data set, whose images have neg_category_ids"),
    ):  # fmt: skip
        assert fails(capsys, *files, *options) == text
    (tmp_path / "dt").mkdir()
    (tmp_path / "dt" / "1.txt").write_text("a 0.5 0 0 3 3\n")
    assert fails(capsys, files[0], tmp_path / "dt", "--kind", "masks") == (
        "evaluate: --kind masks goes with files of COCO JSON, got a data set that is coco and detections that are txt"
    )
    wrong = [{**part("bbox"), "segmentation": {"size": [5, 4], "counts": [20]}}] * 2
    assert fails(capsys, *write(tmp_path, wrong)) == (
        f"{files[1]}: results[0].segmentation.size: expected the image's height and width, 4 x 5, got 5 x 4"
    )


def test_a_share_where_scores_are_none(tmp_path: Path, capsys: Capture) -> None:
    """`--at 0.5` of scores in percent takes every detection."""
    for score, at, noted in ((50, "0.5", True), (50, "40", False), (0.9, "0.5", False), (-3, "0.5", True)):
        files = write(tmp_path, [{**part("bbox"), "score": score}] * 2)
        notes = scored(capsys, *files, "--at", at)["notes"]
        text = f"{files[1]}: scores are from {score} to {score}, not in [0, 1], and --at 0.5 is one of these"
        assert notes == [text] * noted


def test_invalid_records_and_a_set_of_images(tmp_path: Path, capsys: Capture) -> None:
    wrong = {**part("bbox"), "segmentation": {**MASK, "counts": [5]}}
    files = write(tmp_path, [part("bbox", "segmentation"), wrong, part("bbox", "segmentation")])
    result = scored(capsys, *files, "--skip-invalid")
    assert result["skipped"]["count"] == 1
    assert list(result["also"]) == ["masks"]
    assert result["also"]["masks"]["scored_detections"] == 2
    (tmp_path / "set.txt").write_text("1.jpg\n")
    files = write(tmp_path, [part("bbox", "segmentation")] * 2)
    result = scored(capsys, *files, "--image-set", tmp_path / "set.txt")
    assert [of["true_boxes"] for of in (result, result["also"]["masks"])] == [1, 1]


def test_tables(tmp_path: Path, capsys: Capture) -> None:
    """Each kind has a heading and its own lines; boxes alone have none."""
    files = write(tmp_path, [WHOLE] * 2)
    text = shown(capsys, *files, *SIGMAS)[0].splitlines()
    heads = [i for i, line in enumerate(text) if not line.startswith(" ") and line.endswith(":")]
    assert [text[i] for i in heads] == ["Boxes:", "Masks:", "Keypoints:"]
    assert [text[i + 1].split(", ")[2] for i in heads] == [
        "2 true boxes to find", "2 true masks to find", "2 true poses to find",
    ]  # fmt: skip
    assert [b - a - 2 for a, b in zip(heads, [*heads[1:], len(text)], strict=True)] == [12, 12, 10]
    assert shown(capsys, *files, "--kind", "boxes")[0].splitlines()[0] == text[1]


def test_pictures_of_each_kind(tmp_path: Path, capsys: Capture) -> None:
    need("matplotlib")
    files = write(tmp_path, [part("bbox", "segmentation")] * 2)
    result = scored(capsys, *files, "--plots", tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "masks" / "report.html").is_file()
    assert {str(Path(path).parent) for path in result["plots"]} == {
        str(tmp_path / "out"),
        str(tmp_path / "out" / "masks"),
    }


PUBLISHED = [
    ("coco_val2014_100", "instances_val2014_100.json", "instances_val2014_fakesegm100_results.json", "masks"),
    ("coco_keypoints_10", "gt_dataset.json", "dt_dataset.json", "keypoints"),
]


@pytest.mark.parametrize(("folder", "truth", "found", "kind"), PUBLISHED)
def test_published_figures(capsys: Capture, folder: str, truth: str, found: str, kind: str) -> None:
    path = real_data(folder)
    result = scored(capsys, path / truth, path / found, "--kind", kind)
    expected = path / ("expected_stats.json" if kind == "masks" else "expected.json")
    stats = json.loads(expected.read_text())["segm" if kind == "masks" else "stats"]
    assert result["stats"] == pytest.approx(stats, abs=1e-12)


def test_crowdpose(capsys: Capture) -> None:
    """Its sigmas and areas by its crowdIndex; AP of easy, medium and hard images."""
    path = real_data("crowdpose_sample")
    result = scored(capsys, path / "example_crowdpose_val.json", path / "example_crowdpose_preds.json")
    expected = json.loads((path / "expected.json").read_text())
    keys = ("AP", "AP50", "AP75", "AR", "AR50", "AR75", "AP_easy", "AP_medium", "AP_hard")
    assert result["stats"] == pytest.approx([expected[key] for key in keys], abs=1e-12)


def test_lvis(tmp_path: Path, capsys: Capture) -> None:
    """LVIS's table: at most 300 detections of an image, and AP of rare, common and frequent classes."""
    path = real_data("lvis_val_100", "lvis_val_100.json")
    truth = json.loads(path.read_text())
    results = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 1 / (1 + i % 7)}
        for i, a in enumerate(truth["annotations"]) if i % 3
    ]  # fmt: skip
    negative = [
        {"image_id": image["id"], "category_id": k, "bbox": [1, 1, 9, 9], "score": 0.9}
        for image in truth["images"] for k in image["neg_category_ids"]
    ]  # fmt: skip
    (tmp_path / "dt.json").write_text(json.dumps(results + negative))
    result = scored(capsys, path, tmp_path / "dt.json")
    parts = [line.get("part", "") for line in result["summary"]]
    assert parts == [*[""] * 6, "rare classes", "common classes", "frequent classes", *[""] * 4]
    assert {line["most"] for line in result["summary"]} == {300}
    by_word = {"rare": "r", "common": "c", "frequent": "f"}
    frequency = {c["id"]: c["frequency"] for c in truth["categories"]}
    for line in result["summary"][6:9]:
        wanted = by_word[line["part"].split()[0]]
        own = [row["ap"] for row in result["per_class"] if row["ap"] >= 0 and frequency[row["id"]] == wanted]
        assert line["value"] == pytest.approx(np.mean(own), abs=1e-12)


# ------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints"])
def test_errors_of_every_kind(kind: str, tmp_path: Path, capsys: Capture) -> None:
    """One object is found, with score 0.5; the other's detection has another class."""
    gt, dt = write(tmp_path, [WHOLE, {**WHOLE, "category_id": 2}])
    options = ["--kind", kind, *(SIGMAS if kind == "keypoints" else ()), "--errors"]
    result = scored(capsys, gt, dt, *options)
    found = result["errors"]
    assert (found["iou"], found["classification_count"], found["missed_count"]) == (0.5, 1, 0)
    assert found["ap"] == pytest.approx(51 / 101)
    assert found["classification_dap"] == pytest.approx(50 / 101)
    assert result["calibration"]["count"] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 0]
    assert result["calibration"]["ece"] == pytest.approx(0)
    text, _ = shown(capsys, gt, dt, *options)
    assert "AP 0.5050 at IoU 0.5. Errors, and how much AP rises without them:\n  wrong class  1  +0.4950\n" in text
    assert "Scores are 0.0000 from the share that is right" in text


def test_scores_that_are_no_shares(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = write(tmp_path, [{**WHOLE, "score": 7.0}] * 2)
    result = scored(capsys, gt, dt, "--kind", "boxes", "--errors")
    assert "calibration" not in result
    assert result["errors"]["ap"] == pytest.approx(1)


def test_panoptic_files(capsys: Capture) -> None:
    """As `fastdet panoptic` scores them."""
    truth, guess = (real_data("panoptic_sample", f"{name}.json") for name in ("truth", "predicted"))
    expected = json.loads(real_data("panoptic_sample", "expected.json").read_text())
    assert scored(capsys, truth, guess)["pq"] == pytest.approx(expected["All"]["pq"], rel=1e-12)
    assert "things" in shown(capsys, truth, guess)[0]
    assert fails(capsys, truth, guess, "--iou", "0.5") == "evaluate: --iou does not go with panoptic files"


@pytest.mark.parametrize("fields", [("bbox", "segmentation"), ("bbox", "keypoints"), ("segmentation",)])
def test_image_ids_that_are_names(fields: tuple[str, ...], tmp_path: Path, capsys: Capture) -> None:
    """The kinds are those of the records also where `image_id` is a text."""
    record = {**part(*fields), "segmentation": MASK} if "segmentation" in fields else part(*fields)
    files = write(tmp_path, [{**record, "image_id": "1"}, {**record, "image_id": "2.jpg"}], {**WHOLE, **record})
    result = scored(capsys, *files, *SIGMAS) if "keypoints" in fields else scored(capsys, *files)
    every = {result["kind"]: result, **result.get("also", {})}
    names = {"bbox": "boxes", "segmentation": "masks", "keypoints": "keypoints"}
    assert {kind: of["map"] for kind, of in every.items()} == {names[field]: pytest.approx(1) for field in fields}


@pytest.mark.parametrize("first", [{"score": None}, 3, {}, {"segmentation": {**MASK, "counts": "~~"}}])
def test_an_invalid_first_record_does_not_decide(first: Any, tmp_path: Path, capsys: Capture) -> None:
    good = {**part("bbox"), "segmentation": MASK}
    files = write(tmp_path, [good] * 3, {**WHOLE, "segmentation": MASK})
    records = json.loads(files[1].read_text())
    files[1].write_text(
        json.dumps([{**records[0], **first} if isinstance(first, dict) and first else first, *records[1:]])
    )
    result = scored(capsys, *files, "--skip-invalid")
    assert result["skipped"]["count"] == 1
    assert (result["scored_detections"], result["also"]["masks"]["scored_detections"]) == (2, 2)
    assert [of["map"] for of in (result, result["also"]["masks"])] == [pytest.approx(1)] * 2


def test_masks_of_other_sizes_are_skipped(tmp_path: Path, capsys: Capture) -> None:
    good = {**part("bbox"), "segmentation": MASK}
    files = write(tmp_path, [good, {**good, "segmentation": {"size": [5, 4], "counts": [20]}}, good])
    result = scored(capsys, *files, "--skip-invalid")
    text = "a mask of image 2: expected the image's height and width, 4 x 5, got 5 x 4"
    assert result["skipped"]["records"] == [f"{files[1]}: {text}"]
    assert result["also"]["masks"]["scored_detections"] == 2


def test_masks_outside_of_their_boxes(tmp_path: Path, capsys: Capture) -> None:
    """Fractions of the image as polygons, and run lengths of the rows: 0 in masks needs a word."""
    text = "dt.json: 2 of 2 masks do not lie in the bbox of their record: are rows and columns swapped, or polygons in"
    wide = {"bbox": [0, 1, 5, 2], "segmentation": [[0, 1, 5, 1, 5, 3, 0, 3]]}
    for wrong in ([[0, 0.25, 1, 0.25, 1, 0.75, 0, 0.75]], {"size": [4, 5], "counts": [5, 10, 5]}):
        files = write(tmp_path, [{**wide, "segmentation": wrong}] * 2, wide)
        result = scored(capsys, *files)
        assert result["map"] == pytest.approx(1)
        assert result["also"]["masks"]["map"] < 0.5
        assert text in result["notes"][0]
    assert scored(capsys, *write(tmp_path, [wide] * 2, wide))["notes"] == []
    files = write(tmp_path, [wide] * 2, {**wide, "bbox": [0, 1, 5, 0.5]})
    assert "gt.json: 2 of 2 masks do not lie" in scored(capsys, *files)["notes"][0]


def test_areas_of_poses_that_are_those_of_boxes(tmp_path: Path, capsys: Capture) -> None:
    """Scores of keypoints rise with the area, and a box is larger than its object."""
    said = "gt.json: the area of every object is the width * height of its bbox: COCO's areas are those of masks"
    for area, count in ((9, 1), (5, 0)):
        files = write(tmp_path, [part("keypoints")] * 2, {**part("bbox", "keypoints"), "area": area})
        notes = scored(capsys, *files, *SIGMAS)["notes"]
        assert [said in text for text in notes] == [True] * count
