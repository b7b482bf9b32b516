"""`fastdet evaluate`: numbers and words that may be meant in several ways give the right figure, or stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_forms import Capture, fails, scored
from small_sets import ONE, SIDE, SIZE, WORDS, coco, voc_folder, voc_results, write, yolo_folder, yolo_results


# ------------------------------------------------------------------------------------- images without ids
@pytest.mark.parametrize("pad", ["{}", "{:06d}", "photos\\{}"])
def test_numbers_are_names_where_there_are_no_ids(tmp_path: Path, capsys: Capture, pad: str) -> None:
    """0.txt to 11.txt: sorted by name, 10 stands before 2."""
    plain = [pad.format(i).rpartition("\\")[2] for i in range(12)]
    labels = yolo_folder(tmp_path / "labels", plain)
    dt = write(tmp_path / "dt.json", yolo_results(plain, list(range(12))))
    assert scored(capsys, labels, dt, *SIZE)["map"] == ONE
    np.savez(
        tmp_path / "dt.npz", boxes=np.array([[5.0 + 5 * i, 30, 35 + 5 * i, 70] for i in range(12)]),
        scores=np.full(12, 0.9), labels=np.arange(12) % 3, image_id=np.arange(12),
    )  # fmt: skip
    assert scored(capsys, labels, tmp_path / "dt.npz", *SIZE)["map"] == ONE
    folder = voc_folder(tmp_path / "xml", plain)
    dt = write(tmp_path / "v.json", voc_results(list(range(12))))
    assert scored(capsys, folder, dt, "--labels", "position")["map"] == ONE
    named = write(tmp_path / "w.json", voc_results([pad.format(i) + ".jpg" for i in range(12)]))
    assert scored(capsys, folder, named, "--labels", "position")["map"] == ONE


def test_numbers_that_name_no_image_or_several(tmp_path: Path, capsys: Capture) -> None:
    labels = yolo_folder(tmp_path / "labels", ["1", "001", "2"])
    dt = write(tmp_path / "dt.json", yolo_results(["1"], [1]))
    assert "expected the name of one image of the data set, got 1, which fits several" in fails(
        capsys, labels, dt, *SIZE
    )
    dt = write(tmp_path / "dt.json", yolo_results(["2", "0"], [2, 0]))
    text = fails(capsys, labels, dt, *SIZE)
    assert text.endswith(
        "results[1].image_id: expected the name of an image of the data set, got 0; it has '001', '1', '2'"
    )
    assert "--image-ids must be name" in fails(capsys, labels, dt, *SIZE, "--image-ids", "id")
    folder = voc_folder(tmp_path / "xml", ["img_0", "img_1"])
    dt = write(tmp_path / "dt.json", voc_results([0, 1]))
    assert "got 0; it has 'img_0', 'img_1'" in fails(capsys, folder, dt, "--labels", "position")


def test_npz_that_only_counts_its_images(tmp_path: Path, capsys: Capture) -> None:
    labels = yolo_folder(tmp_path / "labels", [str(i) for i in range(12)])
    boxes = np.array([[100 * (0.05 + 0.05 * i), 30, 100 * (0.35 + 0.05 * i), 70] for i in range(12)])
    columns = {"boxes": boxes, "scores": np.full(12, 0.9), "labels": np.arange(12) % 3}
    np.savez(tmp_path / "dt.npz", **columns, offsets=np.arange(13))
    text = fails(capsys, labels, tmp_path / "dt.npz", *SIZE)
    assert "expected an array image_id, by which images are found in the data set, got 12 images" in text


def test_ids_of_coco_that_are_names(tmp_path: Path, capsys: Capture) -> None:
    """Ultralytics writes the number in the file's name as image_id, whatever the ids of the data set are."""
    names = [f"{n:012d}.jpg" for n in (6, 5, 4, 3, 2, 1)]
    right = coco(tmp_path / "gt.json", names)
    assert scored(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", right))["map"] == ONE
    wrong = [{**r, "image_id": 7 - r["image_id"]} for r in right]
    dt = write(tmp_path / "dt.json", wrong)
    text = fails(capsys, tmp_path / "gt.json", dt)
    assert text.startswith("evaluate: --image-ids must say what image ids are: names of images are numbers too")
    assert scored(capsys, tmp_path / "gt.json", dt, "--image-ids", "name")["map"] == ONE
    assert scored(capsys, tmp_path / "gt.json", dt, "--image-ids", "id")["map"] < 0.2
    right = coco(tmp_path / "gt.json", [f"{n}.jpg" for n in range(100, 106)])
    dt = write(tmp_path / "dt.json", [{**r, "image_id": 99 + r["image_id"]} for r in right])
    result = scored(capsys, tmp_path / "gt.json", dt)
    assert result["map"] == ONE
    assert result["notes"] == [
        f"{dt}: image ids are read as names of images: all of them are, and not all are ids of the data set"
    ]


def test_file_names_of_records_come_first(tmp_path: Path, capsys: Capture) -> None:
    right = coco(tmp_path / "gt.json", ["a.jfif", "b.JPG", "café.jpg"])
    called = {1: "dir\\a.jfif", 2: "other/b.png", 3: "cafe\u0301.jpg"}
    dt = write(tmp_path / "dt.json", [{**r, "file_name": called[r["image_id"]], "image_id": "x"} for r in right])
    assert scored(capsys, tmp_path / "gt.json", dt)["map"] == ONE
    dt = write(tmp_path / "dt.json", [{**r, "file_name": called[r["image_id"]], "image_id": 1} for r in right])
    result = scored(capsys, tmp_path / "gt.json", dt)
    assert result["map"] == ONE
    assert "6 detections have the image_id of another image than their file_name" in result["notes"][0]
    dt = write(tmp_path / "dt.json", [{**r, "image_id": called[r["image_id"]]} for r in right])
    assert scored(capsys, tmp_path / "gt.json", dt)["map"] == ONE
    mixed = [{**right[0], "file_name": "a.jpg"}, {**right[1], "file_name": "z.jpg"}]
    text = fails(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", mixed))
    assert "results[1].file_name: expected the name of an image of the data set, got 'z.jpg'; it has 'a.jfif'" in text
    none = [{**r, "file_name": "z.jpg"} for r in right]
    assert scored(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", none))["map"] == ONE


# -------------------------------------------------------------------------------------------------- labels
def test_labels_that_are_positions(tmp_path: Path, capsys: Capture) -> None:
    """Category ids 1, 3, 5: positions 0, 1, 2 are not ids; 1, 2, 3 are partly."""
    kinds = {1: "cat", 3: "dog", 5: "fox"}
    right = coco(tmp_path / "gt.json", ["a.jpg", "b.jpg"], kinds=kinds)
    for first, word in ((0, "position"), (1, "position-from-1")):
        rows = [{**r, "category_id": list(kinds).index(r["category_id"]) + first} for r in right]
        dt = write(tmp_path / "dt.json", rows)
        text = fails(capsys, tmp_path / "gt.json", dt)
        assert text.startswith("evaluate: --labels must say what labels are: ")
        assert f"use --labels {word}" in text
        assert scored(capsys, tmp_path / "gt.json", dt, "--labels", word)["map"] == ONE
        named = write(tmp_path / "names.yaml", "nc: 3\nnames: [cat, dog, fox]\n")
        if not first:
            assert scored(capsys, tmp_path / "gt.json", dt, "--classes", named)["map"] == ONE
        assert scored(capsys, tmp_path / "gt.json", dt, "--labels", "id")["map"] < 0.5
    assert scored(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", right))["map"] == ONE


def test_labels_that_are_all_ids_and_all_wrong(tmp_path: Path, capsys: Capture) -> None:
    """Labels 1 and 2 of classes 2 and 3: every label is an id, and no box has the class of its truth."""
    right = coco(tmp_path / "gt.json", ["a.jpg", "b.jpg"])
    shifted = [{**r, "category_id": r["category_id"] - 1} for r in right if r["category_id"] > 1]
    text = fails(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", shifted))
    assert "the classes of 0 of 4 overlapping boxes agree, and of 4 with --labels position" in text
    assert scored(capsys, tmp_path / "gt.json", tmp_path / "dt.json", "--labels", "position")["map_50"] > 0.6
    labels = yolo_folder(tmp_path / "labels", ["a", "b", "c", "d", "e"])
    rows = yolo_results(list("abcde"), list("abcde"), first=1)
    dt = write(tmp_path / "y.json", rows)
    assert "--labels position-from-1" in fails(capsys, labels, dt, *SIZE)
    assert scored(capsys, labels, dt, *SIZE, "--labels", "position-from-1")["map"] == ONE
    dt = write(tmp_path / "y.json", [r for r in rows if r["category_id"] < 3])  # 3 would be no class
    assert "with --labels position-from-1" in fails(capsys, labels, dt, *SIZE)


def test_a_placeholder_category(tmp_path: Path, capsys: Capture) -> None:
    """An exporter puts a category 0 before the classes, which heads them; detectors count without it."""
    kinds = {0: "animals", 1: "cat", 2: "dog", 3: "fox"}
    categories = [{"id": k, "name": v, "supercategory": "animals" if k else "none"} for k, v in kinds.items()]
    right = coco(tmp_path / "gt.json", ["a.jpg", "b.jpg"], kinds=kinds, categories=categories)
    assert {r["category_id"] for r in right} == {1, 2, 3}
    assert scored(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", right))["map"] == ONE
    dt = write(tmp_path / "dt.json", [{**r, "category_id": r["category_id"] - 1} for r in right])
    text = fails(capsys, tmp_path / "gt.json", dt)
    assert "has label 0, and category 0, 'animals', only heads the others" in text
    result = scored(capsys, tmp_path / "gt.json", dt, "--labels", "position")
    assert result["map"] == ONE
    assert result["notes"][0].startswith("category 0, 'animals', has no box: it is not counted")
    assert scored(capsys, tmp_path / "gt.json", dt, "--labels", "id")["map"] == 0


def test_numbers_for_classes_that_have_names_only(tmp_path: Path, capsys: Capture) -> None:
    folder = voc_folder(tmp_path / "xml", ["a", "b", "c"])
    dt = write(tmp_path / "dt.json", voc_results(["a", "b", "c"]))
    text = fails(capsys, folder, dt)
    assert "the data set's classes have names and no ids; if 0 is 'cat', 1 is 'dog', ..., use --labels position" in text
    assert scored(capsys, folder, dt, "--labels", "position")["map"] == ONE
    names = write(tmp_path / "names.txt", "fox\ndog\ncat\n")
    turned = write(tmp_path / "t.json", voc_results(["a", "b", "c"], lambda n: 2 - n % 3))
    assert scored(capsys, folder, turned, "--classes", names)["map"] == ONE
    (tmp_path / "y").mkdir()
    for i, name in enumerate("abc"):
        write(tmp_path / "y" / f"{name}.txt", f"{i} {0.295 + 0.01 * i} .395 .39 .39 .9")
    assert "use --labels position" in fails(capsys, folder, tmp_path / "y", *SIZE)
    assert scored(capsys, folder, tmp_path / "y", *SIZE, "--labels", "position")["map"] > 0.9


def test_detections_of_other_classes_only(tmp_path: Path, capsys: Capture) -> None:
    coco(tmp_path / "gt.json", ["a.jpg"])
    (tmp_path / "dt").mkdir()
    write(tmp_path / "dt" / "a.txt", "tree .9 1 2 3 4\ncar .8 1 2 3 4")
    text = fails(capsys, tmp_path / "gt.json", tmp_path / "dt")
    assert text.endswith(f"of the classes of {tmp_path / 'gt.json'} (cat, dog, fox), got only others (car, tree)")


def test_a_class_number_beyond_the_classes(tmp_path: Path, capsys: Capture) -> None:
    """YOLO's class 5 of three classes: the detector has other classes than the data set."""
    coco(tmp_path / "gt.json", ["a.jpg"])
    (tmp_path / "dt").mkdir()
    write(tmp_path / "dt" / "a.txt", "0 .25 .4 .4 .4 .9\n5 .5 .5 .1 .1 .9")
    assert fails(capsys, tmp_path / "gt.json", tmp_path / "dt").startswith("evaluate: --classes must be given: ")


@pytest.mark.parametrize(
    ("name", "text", "want"),
    [
        ("a.yaml", "path: x\ntrain: t\nval: v\nnc: 3\nnames: ['cat', 'dog', 'fox']\n", WORDS),
        ("a.yml", "names:\n  0: cat\n  1: dog\n  2: fox\nnc: 3", WORDS),
        ("a.yaml", "nc: 4\nnames: [cat, dog, fox]", "nc: expected 3, the number of names, got 4"),
        ("a.yaml", "names: {0: cat, 2: dog}", "names: expected the numbers 0, 1, ... without a gap, got 0, 2"),
        ("a.yaml", "nc: 3", "names: expected a list of names, or names by number, got no such key"),
        ("a.yaml", "names: [cat, no, fox]", "class 1: expected a name, got"),
        ("a.yaml", "names: [cat, 'dog", "not YAML"),
        ("a.yaml", "names: [cat, cat]", "class 1: expected unique names, got 'cat' as in class 0"),
        ("a.txt", "nc: 3\nnames: [cat, dog, fox]", "line 1: expected one name a line"),
        ("a.txt", "id,name\n0,cat\n1,dog\n2,fox", "got a table, 'id,name'"),
        ("a.txt", "cat,dog,fox", "got a table"),
        ("a.txt", "# classes\ncat\ndog\nfox", "line 1: expected one name a line"),
        ("a.txt", "name\ncat\ndog\nfox", "line 1: expected one name a line"),
        ("a.txt", "// names\ncat\ndog\nfox", "line 1: expected one name a line"),
        ("a.txt", "- cat\n- dog\n- fox", "line 1: expected one name a line"),
        ("a.txt", "'cat'\n'dog'\n'fox'", "line 1: expected one name a line"),
        ("a.txt", "classes = 3", "line 1: expected one name a line"),
        ("a.yaml", "names: {'0': cat, '1': dog, '2': fox}\nnc: '3'", "nc: expected 3, the number of names, got '3'"),
        ("a.txt", "2 wheels\n4 wheels\n6 wheels", ["2 wheels", "4 wheels", "6 wheels"]),
        ("a.txt", "0 cat\n1 dog\n2 fox", "got a number before the name, '0 cat'"),
        ("a.txt", "1. cat\n2. dog\n3. fox", "got a number before the name, '1. cat'"),
        ("a.txt", "cat 0\ndog 1\nfox 2", "got a number after the name, 'cat 0'"),
        ("a.txt", "cat: 1\ndog: 2\nfox: 3", "got a number after the name, 'cat: 1'"),
        ("a.txt", "kind 1\nkind 2\nkind 3", ["kind 1", "kind 2", "kind 3"]),
        ("a.txt", "1.5 mm\n2.5 mm\n3.5 mm", ["1.5 mm", "2.5 mm", "3.5 mm"]),
        ("a.txt", "Classes:\ncat\ndog\nfox", "got the title of a column, 'Classes:'"),
        ("a.txt", "; classes\ncat\ndog\nfox", "line 1: expected one name a line"),
        ("a.txt", "* cat\n* dog\n* fox", "line 1: expected one name a line"),
        ("a.yaml", "names: [cat]\nnc: true", "nc: expected 1, the number of names, got True"),
        ("a.txt", '["cat", "dog", "fox"]', "got JSON"),
        ("a.txt", "cat\ndog\nfox\n", WORDS),
    ],
)
def test_names_of_classes(tmp_path: Path, capsys: Capture, name: str, text: str, want: Any) -> None:
    labels = yolo_folder(tmp_path / "labels", ["a", "b", "c"])
    dt = yolo_folder(tmp_path / "dt", ["a", "b", "c"], scores=True)
    names = write(tmp_path / name, text)
    if isinstance(want, str):
        assert want in fails(capsys, labels, dt, *SIZE, "--classes", names)
        return
    result = scored(capsys, labels, dt, *SIZE, "--classes", names)
    assert [row["name"] for row in result["per_class"]] == want
    assert result["map"] == ONE


def test_fewer_names_than_classes(tmp_path: Path, capsys: Capture) -> None:
    labels = yolo_folder(tmp_path / "labels", ["a", "b", "c"])
    names = write(tmp_path / "two.txt", "cat\ndog")
    text = fails(capsys, labels, labels, *SIZE, "--classes", names)
    assert text.endswith("c.txt: line 1: class: expected less than 2, the number of classes, got 2")


def test_boxes_in_another_form_are_noted(tmp_path: Path, capsys: Capture) -> None:
    """x1 y1 x2 y2, or fractions, in the place of x y width height."""
    right = coco(tmp_path / "gt.json", ["a.jpg", "b.jpg", "c.jpg"])
    assert scored(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", right))["notes"] == []

    def note(change: Any) -> str:
        rows = [{**r, "bbox": change(*r["bbox"])} for r in right]
        result = scored(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", rows))
        assert result["map"] < 0.2
        return result["notes"][0]

    start = f"{tmp_path / 'dt.json'}: detections overlap only "
    for form, change in {
        "x1 y1 x2 y2": lambda x, y, w, h: [x, y, x + w, y + h],
        "cx cy width height": lambda x, y, w, h: [x + w / 2, y + h / 2, w, h],
        "fractions of the image": lambda x, y, w, h: [v / SIDE for v in (x, y, w, h)],
        "x1 y1 x2 y2 as fractions of the image": lambda x, y, w, h: [v / SIDE for v in (x, y, x + w, y + h)],
    }.items():
        text = note(change)
        assert text.startswith(start)
        assert text.endswith(f" Taken as {form}, they overlap 9")
    assert note(lambda x, y, w, h: [x + 1000, y, w, h]).endswith("or in another form of boxes?")


def test_classes_that_hardly_ever_agree_are_noted(tmp_path: Path, capsys: Capture) -> None:
    """Another order of the classes, which no option names."""
    right = coco(tmp_path / "gt.json", ["a.jpg", "b.jpg"])
    turned = [{**r, "category_id": {1: 2, 2: 3, 3: 1}[r["category_id"]]} for r in right]
    note = scored(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", turned))["notes"][0]
    assert note.endswith(
        "of 6 detections that overlap a true box, 0 have its class: is the list of classes in another order? "
        "See --labels and --classes"
    )
    one = write(tmp_path / "dt.json", turned[:1])
    assert "of 1 detections that overlap a true box, 0 have" in str(scored(capsys, tmp_path / "gt.json", one)["notes"])


def test_an_unused_first_category(tmp_path: Path, capsys: Capture) -> None:
    """labelme's _background_: nothing but the boxes shows that detectors do not count it."""
    kinds = {0: "_background_", 1: "cat", 2: "dog", 3: "fox"}
    right = coco(tmp_path / "gt.json", ["a.jpg", "b.jpg"], kinds=kinds)
    dt = write(tmp_path / "dt.json", [{**r, "category_id": r["category_id"] - 1} for r in right])
    assert "and of 6 with --labels position" in fails(capsys, tmp_path / "gt.json", dt)
    result = scored(capsys, tmp_path / "gt.json", dt, "--labels", "position")
    assert result["map"] == ONE
    assert "category 0, '_background_', has no box: it is not counted" in result["notes"][0]
    kept = scored(capsys, tmp_path / "gt.json", write(tmp_path / "dt.json", right), "--labels", "position")
    assert kept["map"] == ONE


def test_a_list_of_classes_beside_yolos_detections(tmp_path: Path, capsys: Capture) -> None:
    labels = yolo_folder(tmp_path / "labels", list("abc"))
    write(labels / "classes.txt", "cat\ndog\nfox\n")
    dt = yolo_folder(tmp_path / "dt", list("abc"), scores=True)
    for path in dt.iterdir():
        write(path, str(2 - int(path.read_text()[0])) + path.read_text()[1:])
    write(dt / "classes.txt", "fox\ndog\ncat\n")
    result = scored(capsys, labels, dt, *SIZE)
    assert result["map"] == ONE
    assert result["notes"] == [f"{dt / 'classes.txt'}: names the classes of the detections"]


def test_names_and_numbers_in_one_file(tmp_path: Path, capsys: Capture) -> None:
    """Ultralytics writes a number where the file's name is one, and else the name."""
    right = coco(tmp_path / "gt.json", ["2.jpg", "1.jpg", "x.jpg"])
    called = {1: 2, 2: 1, 3: "x"}
    dt = write(tmp_path / "dt.json", [{**r, "image_id": called[r["image_id"]]} for r in right])
    text = fails(capsys, tmp_path / "gt.json", dt)
    assert text.startswith("evaluate: --image-ids must say what numbers in ")
    assert scored(capsys, tmp_path / "gt.json", dt, "--image-ids", "name")["map"] == ONE
    dt = write(
        tmp_path / "dt.json", [{**r, "image_id": str(r["image_id"])} for r in coco(tmp_path / "g.json", ["a", "b"])]
    )
    assert scored(capsys, tmp_path / "g.json", dt)["map"] == ONE  # "1" is id 1: no image is called so


def test_frames_whose_names_are_other_ids(tmp_path: Path, capsys: Capture) -> None:
    """Both readings fit, as nothing moves: ids count, and a note names the other."""
    images = [{"id": i, "file_name": f"{i - 1}.jpg"} for i in range(1, 6)]
    boxes = [{"image_id": i, "category_id": 1, "bbox": [10 + i, 10, 40, 40]} for i in range(1, 6)]
    truth = [{**box, "id": n} for n, box in enumerate(boxes)]
    gt = {"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": truth}
    write(tmp_path / "gt.json", gt)
    dt = write(tmp_path / "dt.json", [{**box, "image_id": box["image_id"], "score": 0.5} for box in boxes[:4]])
    notes = scored(capsys, tmp_path / "gt.json", dt)["notes"]
    assert "names of images are numbers too: --image-ids name reads them as names" in notes[0]


def test_numbers_of_classes_in_txt(tmp_path: Path, capsys: Capture) -> None:
    folder = voc_folder(tmp_path / "xml", list("abc"))
    dt = tmp_path / "dt"
    dt.mkdir()
    for i, name in enumerate("abc"):
        write(dt / f"{name}.txt", f"{i} 0.9 {10 + i} 20 {49 + i} 59")
    assert "use --labels position" in fails(capsys, folder, dt)
    assert scored(capsys, folder, dt, "--labels", "position")["map"] == ONE
    names = write(tmp_path / "names.txt", "cat\ndog\nfox")
    assert scored(capsys, folder, dt, "--classes", names)["map"] == ONE
    coco(tmp_path / "gt.json", list("abc"))
    assert "--image-size" not in fails(capsys, tmp_path / "gt.json", dt)


def test_npz_without_labels(tmp_path: Path, capsys: Capture) -> None:
    right = coco(tmp_path / "gt.json", ["a.jpg"], kinds={7: "cat"})
    x, y, w, h = right[0]["bbox"]
    columns = {"boxes": np.array([[x, y, x + w, y + h]]), "scores": np.array([0.9]), "image_id": np.array([1])}
    np.savez(tmp_path / "dt.npz", **columns)
    assert scored(capsys, tmp_path / "gt.json", tmp_path / "dt.npz")["map"] == ONE
    coco(tmp_path / "gt.json", ["a.jpg"])
    text = fails(capsys, tmp_path / "gt.json", tmp_path / "dt.npz")
    assert text.endswith("expected an array named labels, got none, and the data set has 3 classes")


def test_image_size_of_other_formats(tmp_path: Path, capsys: Capture) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}]
    truth = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [30, 30, 40, 40]}]
    write(tmp_path / "gt.json", {"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": truth})
    (tmp_path / "dt").mkdir()
    write(tmp_path / "dt" / "a.txt", "0 .5 .5 .4 .4 .9")
    assert "a.txt: expected a data set with the size of this image, got none" in fails(
        capsys, tmp_path / "gt.json", tmp_path / "dt"
    )
    assert scored(capsys, tmp_path / "gt.json", tmp_path / "dt", *SIZE)["map"] == ONE


def test_names_that_are_numbers_of_several_images(tmp_path: Path, capsys: Capture) -> None:
    right = coco(tmp_path / "gt.json", ["a/1.png", "b/1.png", "b/2.png"])
    called = {1: 1, 2: 1, 3: 2}
    dt = write(tmp_path / "dt.json", [{**r, "image_id": called[r["image_id"]]} for r in right])
    notes = scored(capsys, tmp_path / "gt.json", dt)["notes"]
    assert "image_id is taken as an id; names of images are numbers too" in notes[0]


def test_texts_that_are_ids_and_names(tmp_path: Path, capsys: Capture) -> None:
    """`"1"` is the id of one image and the name of another: the true boxes decide, or the command stops."""
    gt, dt = tmp_path / "gt.json", tmp_path / "dt.json"
    right = coco(gt, ["2.jpg", "3.jpg", "4.jpg", "1.jpg"])
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (d["bbox"] for d in right)])
    arrays = {"labels": np.array([d["category_id"] for d in right]), "scores": np.full(len(right), 0.9)}
    for as_text in (str, lambda i: str(i % 4 + 1)):  # ids, names
        texts = [as_text(d["image_id"]) for d in right]
        write(dt, [{**d, "image_id": text} for d, text in zip(right, texts, strict=True)])
        np.savez(tmp_path / "dt.npz", boxes=corners, image=np.array(texts), **arrays)
        for path in (dt, tmp_path / "dt.npz"):
            if as_text is str:
                text = f"detections in {path} overlap 12 true boxes if image_id is an id, 0 if it is a name"
                assert text in fails(capsys, gt, path)
                assert scored(capsys, gt, path, "--image-ids", "id")["map"] == ONE
            else:
                assert scored(capsys, gt, path)["map"] == ONE
            assert scored(capsys, gt, path, "--image-ids", "name")["map"] == (0 if as_text is str else ONE)


def test_names_in_npz_detections(tmp_path: Path, capsys: Capture) -> None:
    """A file of detections says by name what its numbers mean, as a data set does."""
    gt, dt = tmp_path / "gt.npz", tmp_path / "dt.npz"
    boxes, labels = np.array([[10, 10, 40, 40], [50, 20, 80, 60.0], [5, 5, 30, 60]]), np.array([0, 1, 1])
    names = {"image_names": np.array(["a", "b", "c"]), "classes": np.array(["cat", "dog"])}
    np.savez(gt, boxes=boxes, labels=labels, image=np.arange(3), **names)

    def save(**arrays: Any) -> None:
        base = {"boxes": boxes, "labels": labels, "image": np.arange(3), "scores": np.array([0.9, 0.8, 0.7])}
        np.savez(dt, **{k: v for k, v in {**base, **arrays}.items() if v is not None})

    turned = {"image": np.array([2, 1, 0]), "image_names": np.array(["c.jpg", "x/b.png", "a"])}
    other = {"labels": 1 - labels, "classes": np.array(["dog", "cat"])}
    for arrays in ({}, names, turned, other, {**turned, **other}, {**turned, "image": None, "offsets": np.arange(4)}):
        save(**arrays)
        if "offsets" in arrays:  # boxes 0, 1, 2 are those of c, b, a
            save(**arrays, boxes=boxes[::-1], labels=labels[::-1])
        assert scored(capsys, gt, dt)["map"] == ONE
    for arrays, text in (
        ({"image_names": np.array(["a", "b", "z"])}, "row 2, images: expected the name of an image"),
        ({"image_names": np.array(["a", "b"])}, "images: expected a position from 0 to 1 in image_names, got 2"),
        ({"classes": np.array(["cat"])}, "expected labels from 0 to 0, got 1, and there are 1 names of classes"),
        ({"image": None, **names}, "expected an array image or offsets, which says which image a box is in, got none"),
    ):
        save(**arrays)
        assert text in fails(capsys, gt, dt)
    np.savez(gt, boxes=boxes, labels=labels, image_names=names["image_names"])
    assert "gt.npz: expected an array image or offsets" in fails(capsys, gt, dt)


def test_no_detections_for_classes_that_have_names_only(tmp_path: Path, capsys: Capture) -> None:
    """Without a label there is nothing to choose."""
    gt = voc_folder(tmp_path / "gt", list("abc"))
    np.savez(tmp_path / "dt.npz", boxes=np.zeros((0, 4)), scores=np.zeros(0))
    for dt in (write(tmp_path / "dt.json", []), tmp_path / "dt.npz"):
        assert "no detection: every true box is missed" in scored(capsys, gt, dt)["notes"][0]
