"""`fastdet evaluate` on files of further tools: fields given twice, boxes in other places, other units and orders."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_forms import Capture, fails, scored
from small_sets import ONE, voc_folder, voc_results, write

from fastdet.cli.app import main

BOX = "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>49</xmax><ymax>59</ymax></bndbox>"


# ---------------------------------------------------------------------------------------------------- VOC
@pytest.mark.parametrize(
    ("objects", "want"),
    [
        (f"<object><name>cat</name>{BOX}{BOX}</object>", "object[0].bndbox: expected one, got several"),
        (f"<object><name>cat</name><name>dog</name>{BOX}</object>", "object[0].name: expected one, got several"),
        (f"<object><name>cat</name>{BOX}<difficult>0</difficult><difficult>1</difficult></object>",
         "object[0].difficult: expected one, got several"),
        (f"<object><name>cat</name>{BOX.replace('<ymin>', '<xmin>5</xmin><ymin>')}</object>",
         "object[0].bndbox.xmin: expected one, got several"),
        (f'<object difficult="1"><name>cat</name>{BOX}</object>',
         "object[0].difficult: expected an element, got an attribute"),
        ('<object><name>cat</name><bndbox xmin="1" ymin="2" xmax="9" ymax="9"/></object>',
         "object[0].bndbox.xmin: expected an element, got an attribute"),
        ("<item><name>cat</name><left>1</left></item>", "expected each box as <object><bndbox>, got <item> elsewhere"),
        ("<object_0><name>cat</name></object_0>", "expected each box as <object><bndbox>, got <object_0> elsewhere"),
        ("<rect><left>1</left></rect>", "expected each box as <object><bndbox>, got <rect> elsewhere"),
        ("<label><xmin>1</xmin></label>", "expected each box as <object><bndbox>, got <xmin> elsewhere"),
    ],
)  # fmt: skip
def test_xml_of_which_a_part_would_be_passed_over(tmp_path: Path, capsys: Capture, objects: str, want: str) -> None:
    folder = voc_folder(tmp_path / "xml", list("ab"))
    dt = write(tmp_path / "dt.json", voc_results(list("ab")))
    write(folder / "c.xml", f"<annotation>{objects}</annotation>")
    assert fails(capsys, folder, dt, "--labels", "position") == f"{folder / 'c.xml'}: {want}"
    if want.startswith("object"):
        result = scored(capsys, folder, dt, "--labels", "position", "--skip-invalid")
        assert (result["map"], result["skipped"]["count"]) == (ONE, 1)


def test_other_elements_of_xml(tmp_path: Path, capsys: Capture) -> None:
    """A person's parts have boxes of their own. A region that is a text is no box."""
    folder = voc_folder(tmp_path / "xml", list("ab"), f"<part><name>head</name>{BOX}</part>")
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("<annotation>", "<annotation><region>north</region><objects/>"))
    dt = write(tmp_path / "dt.json", voc_results(list("ab")))
    result = scored(capsys, folder, dt, "--labels", "position")
    assert (result["map"], result["true_boxes"]) == (ONE, 2)


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("encoding", ["GBK", "utf-8", "utf-16", "klingon"])
def test_the_mark_of_utf8_decides(tmp_path: Path, capsys: Capture, encoding: str, quote: str) -> None:
    folder = voc_folder(tmp_path / "xml", list("ab"))
    for path in folder.iterdir():
        said = f"<?xml version={quote}1.0{quote} encoding={quote}{encoding}{quote}?>\n<!-- \u4e2d -->"
        path.write_bytes(codecs.BOM_UTF8 + (said + path.read_text()).encode())
    dt = write(tmp_path / "dt.json", voc_results(list("ab")))
    assert scored(capsys, folder, dt, "--labels", "position")["map"] == ONE


def test_fractions_in_xml_are_noted(tmp_path: Path, capsys: Capture) -> None:
    folder = voc_folder(tmp_path / "xml", list("ab"))
    text = BOX
    for number in ("10", "20", "49", "59"):
        text = text.replace(number, f"0.{number}")
    write(folder / "c.xml", f"<annotation><object><name>cat</name>{text}</object></annotation>")
    dt = write(tmp_path / "dt.json", voc_results(list("ab")))
    notes = scored(capsys, folder, dt, "--labels", "position")["notes"]
    want = f"{folder / 'c.xml'}: object[0].bndbox: a box within one pixel: the numbers look like fractions of the image"
    assert notes[0] == want


# --------------------------------------------------------------------------------- other forms, other classes
def large(gt: Path, count: int = 6) -> list[dict[str, Any]]:
    """A data set of boxes that start near the origin, where a box in another form overlaps the right one by half."""
    boxes = [[15 + i % 6, 14 + i % 6, 60 + 3 * i, 70 + 2 * i] for i in range(count)]
    true = [{"id": i, "image_id": i, "category_id": 1 + i % 3, "bbox": box} for i, box in enumerate(boxes)]
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 200} for i in range(count)]
    categories = [{"id": i, "name": name} for i, name in ((1, "cat"), (2, "dog"), (3, "fox"))]
    write(gt, {"images": images, "categories": categories, "annotations": true})
    return [{**record, "score": 0.9} for record in true]


def to_corners(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**r, "bbox": [x, y, x + w, y + h]} for r in records for x, y, w, h in [r["bbox"]]]


def test_another_form_that_overlaps_by_half(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = tmp_path / "gt.json", tmp_path / "dt.json"
    right = large(gt)
    for results, said in ((right, []), (to_corners(right), ["Taken as x1 y1 x2 y2, they overlap 6"])):
        result = scored(capsys, gt, write(dt, results))
        assert result["map_50"] == ONE
        assert [note[note.index("? ") + 2 :] for note in result["notes"]] == said
        assert (result["map_75"] == ONE) != bool(said)
    content = json.loads(gt.read_text())
    write(gt, {**content, "annotations": to_corners(content["annotations"])})
    notes = scored(capsys, gt, write(dt, right))["notes"]
    start = f"{dt}: detections overlap only 0 of 6 true boxes by three quarters: is one of the files in another form"
    assert notes == [f"{start} of boxes? With true boxes taken as x1 y1 x2 y2, they overlap 6"]
    assert scored(capsys, gt, write(dt, to_corners(right)))["notes"] == []  # both sides: they agree


@pytest.mark.parametrize("as_corners", [True, False])
def test_another_form_of_lines(tmp_path: Path, capsys: Capture, as_corners: bool) -> None:
    """YOLO's fractions that are corners; pixels of x y w h that are read as corners."""
    for i in range(4):
        x, y, w, h = 15 + i, 14 + i, 60 + 3 * i, 70 + 2 * i
        if as_corners:
            true, found = [(x + w / 2) / 200, (y + h / 2) / 200, w / 200, h / 200], [x, y, x + w, y + h]
            found = [*(v / 200 for v in found), 0.9]
        else:
            true, found = [x, y, x + w, y + h], [0.9, x, y, w, h]
        for name, numbers in (("labels", true), ("found", found)):
            (tmp_path / name).mkdir(exist_ok=True)
            write(tmp_path / name / f"{i}.txt", " ".join(map(str, [0 if as_corners else "cat", *numbers])))
    options = ("--image-size", "200x200") if as_corners else ()
    notes = scored(capsys, tmp_path / "labels", tmp_path / "found", *options)["notes"]
    form = "x1 y1 x2 y2" if as_corners else "x y width height"
    assert notes[-1].endswith(f"Taken as {form}, they overlap 4")


def test_two_classes_that_are_found_as_others(tmp_path: Path, capsys: Capture) -> None:
    """Most classes agree, so the classes are not in another order as a whole."""
    gt, dt = tmp_path / "gt.json", tmp_path / "dt.json"
    right = large(gt, 30)
    content = json.loads(gt.read_text())
    for record in content["annotations"][12:]:
        record["category_id"] = 3
    write(gt, content)
    right = [{**r, "score": 0.9} for r in content["annotations"]]

    def notes(other: dict[int, int], count: int = 30) -> list[str]:
        rows = [{**r, "category_id": other.get(r["category_id"], r["category_id"])} for r in right[:count]]
        return scored(capsys, gt, write(dt, [*rows, *right[count:]]))["notes"]

    text = "most true boxes of some classes are found as others, 'cat' as 'dog', 'dog' as 'cat'"
    hint = "is the list of classes in another order? See --labels and --classes"
    assert notes({1: 2, 2: 1}) == [f"{dt}: {text}: {hint}"]
    assert notes({1: 2}) == []  # a detector that mistakes one class for another
    assert notes({1: 2, 2: 1}, 4) == []
    assert notes({}) == []


# ------------------------------------------------------------------------------------------------ names
def test_images_of_one_name_in_several_folders(tmp_path: Path, capsys: Capture) -> None:
    """A longer path, such as an absolute one, is the image whose folders it ends in."""
    gt, dt = tmp_path / "gt.json", tmp_path / "dt.json"
    right = large(gt, 3)
    content = json.loads(gt.read_text())
    for image, name in zip(content["images"], ("v1/1.jpg", "v2/1.jpg", "v2/10.jpg"), strict=True):
        image["file_name"] = name
    write(gt, content)

    def named(*names: str) -> Path:
        return write(dt, [{**r, "image_id": name} for r, name in zip(right, names, strict=True)])

    assert scored(capsys, gt, named("/data/v1/1.png", "data\\v2\\1.jpg", "10"))["map"] == ONE
    assert scored(capsys, gt, named("v1/1", "v2/1", "10"))["map"] == ONE
    for first in ("1.jpg", "v3/1.jpg", "1"):
        text = f"expected the name of one image of the data set, got {first!r} for 'v1/1.jpg' (id 0) and 'v2/1.jpg'"
        assert text in fails(capsys, gt, named(first, "v2/1", "10"))


def test_classes_that_are_not_scored_have_names(tmp_path: Path, capsys: Capture) -> None:
    """Results that list their categories are matched by name, and their ids may be those of other classes."""
    gt, dt = tmp_path / "gt.json", tmp_path / "dt.json"
    right = large(gt)
    content = json.loads(gt.read_text())
    for last, said in (("Fox", "not scored: 2 detections of classes that "), ("fox", "")):
        names = {1: "cat", 2: "dog", 3: last}
        content["categories"] = [{"id": i, "name": name} for i, name in names.items()]
        content["annotations"] = right
        notes = scored(capsys, gt, write(dt, content))["notes"]
        assert notes == ([f"{dt}: {said}{gt} lacks: Fox"] if said else [])
    content["categories"] = [{"id": i, "name": name.upper()} for i, name in names.items()]
    text = "(cat, dog, fox), got only others (CAT, DOG, FOX)"
    assert fails(capsys, gt, write(dt, content)).endswith(text)


def test_intervals_of_one_image_are_noted(tmp_path: Path, capsys: Capture) -> None:
    """Resampling one image gives the same figure each time, whatever the data."""
    text = "--ci of one image: the intervals have no width, as they come from choosing images"
    for count in (1, 2):
        right = large(tmp_path / "gt.json", count)
        result = scored(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", right[:1]), "--ci")
        assert (text in result["notes"]) == (count == 1)
    labels = np.zeros((2, 20, 20), np.uint8)
    for count in (1, 2):
        np.save(tmp_path / "maps.npy", labels[:count])
        assert main(["miou", *[str(tmp_path / "maps.npy")] * 2, "--classes", "2", "--ci", "--json"]) == 0
        out, err = capsys.readouterr()
        assert (text in err, json.loads(out)["notes"]) == ((True, [text]) if count == 1 else (False, []))


def test_names_of_images_that_results_list(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = tmp_path / "gt.json", tmp_path / "dt.json"
    right = large(gt, 3)
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(3)]
    turned = [{"id": 2 - i, "file_name": f"{i}.jpg"} for i in range(3)]
    records = [{**r, "image_id": 2 - r["image_id"]} for r in right]
    assert scored(capsys, gt, write(dt, {"images": turned, "annotations": records}))["map"] == ONE
    images[1]["file_name"] = "0.jpg"
    text = "images: expected a file_name for each image, got '0.jpg' twice"
    assert fails(capsys, gt, write(dt, {"images": images, "annotations": right})) == f"{dt}: {text}"
    images[1]["file_name"] = "new.jpg"
    text = "expected an image whose file_name, in the file's images, is one of the data set, got 1"
    assert fails(capsys, gt, write(dt, {"images": images, "annotations": right})).endswith(text)


@pytest.mark.parametrize("box", [[], None])
def test_an_object_without_a_box(tmp_path: Path, capsys: Capture, box: Any) -> None:
    right = large(tmp_path / "gt.json", 3)
    content = json.loads((tmp_path / "gt.json").read_text())
    content["annotations"][1]["bbox"] = box
    gt, dt = write(tmp_path / "gt.json", content), write(tmp_path / "dt.json", right)
    assert fails(capsys, gt, dt) == f"{gt}: annotations[1].bbox: expected four numbers, got none"


def test_folders_inside_are_noted(tmp_path: Path, capsys: Capture) -> None:
    """Their boxes would be missed, or their detections, without a word."""
    for folder, line in (("gt", "cat 10 10 30 30"), ("dt", "cat .9 10 10 30 30")):
        for inner in ("", "pictures", *(("val", "new") if folder == "dt" else ())):
            (tmp_path / folder / inner).mkdir(exist_ok=True)
            write(tmp_path / folder / inner / ("a.jpg" if inner == "pictures" else "a.txt"), line)
    result = scored(capsys, tmp_path / "gt", tmp_path / "dt")
    assert (result["map"], result["notes"]) == (ONE, [f"{tmp_path / 'dt'}: its folders are not read: new, val"])


def test_keypoints_in_another_order(tmp_path: Path, capsys: Capture) -> None:
    """Left and right exchanged, as by another list of keypoints: few points are right, and no box is wrong."""
    gt, dt = tmp_path / "gt.json", tmp_path / "dt.json"
    right = large(gt, 4)
    content = json.loads(gt.read_text())
    for record in content["annotations"]:
        x, y, w, h = record["bbox"]
        points = [[x, y], [x + w, y], [x, y + h], [x + w, y + h], [x + w / 2, y + h / 2]]
        record |= {"keypoints": [v for point in points for v in (*point, 2)], "area": 0.5 * w * h, "category_id": 1}
    write(gt, content)
    right = [{**r, "score": 0.9} for r in content["annotations"]]
    options = ("--sigmas", ",".join(["0.05"] * 5))

    def notes(*order: int) -> list[str]:
        rows = [{**r, "keypoints": [v for i in order for v in r["keypoints"][3 * i : 3 * i + 3]]} for r in right]
        result = scored(capsys, gt, write(dt, rows), *options)
        assert (result["also"]["keypoints"]["map"] == ONE) == (order == (0, 1, 2, 3, 4))
        return result["notes"]

    assert notes(0, 1, 2, 3, 4) == []
    text = f"{dt}: most keypoints of some numbers, from 0, lie at those of others"
    assert notes(1, 0, 3, 2, 4) == [f"{text}, 0 at 1, 1 at 0, 2 at 3 and 1 more: are they in another order?"]
    write(dt, [{**r, "keypoints": r["keypoints"][:12]} for r in right])
    assert fails(capsys, gt, dt, *options) == f"{dt}: expected 5 keypoints each, as {gt} has, got 4"
    write(dt, right)
    assert scored(capsys, gt, dt, *options, "--kind", "keypoints", "--method", "voc2007")["notes"] == []


@pytest.mark.parametrize("scored_lines", [False, True])
def test_fractions_of_classes_that_are_words(tmp_path: Path, capsys: Capture, scored_lines: bool) -> None:
    """YOLO's lines, but with names: no hint at another form of pixels."""
    folder = tmp_path / "gt"
    folder.mkdir()
    write(folder / "a.txt", "cat .5 .5 .25 .25")
    dt = tmp_path / "dt.json"
    write(dt, [])
    if scored_lines:
        write(folder / "a.txt", "cat 10 10 30 30")
        dt = tmp_path / "dt"
        dt.mkdir()
        write(dt / "a.txt", "cat .9 .5 .5 .25 .25")
    text = "a width >= 0, got -0.25 (YOLO's fractions, which these may be, go with classes that are numbers)"
    assert fails(capsys, folder, dt).endswith(f"a.txt: line 1: expected {text}")
