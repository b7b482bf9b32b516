"""`fastdet evaluate` on files as tools write them: odd lines, other XML, empty files, invalid records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import fails as command_fails
from evaluate_forms import Capture, coco, fails, scored, shown
from small_sets import ONE, SIZE, voc_folder, voc_results, write, yolo_folder

from fastdet.cli.app import main


def folder_of(path: Path, **files: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write(path / f"{name}.txt", text)
    return path


# ---------------------------------------------------------------------------------------------------- YOLO
@pytest.mark.parametrize("line", ["0 .5 .5 1.0000001 .5", "0 -0.001 .5 .2 .2", "0 .5 1.2 .1 .1"])
def test_an_odd_line_does_not_change_the_format(tmp_path: Path, capsys: Capture, line: str) -> None:
    """The line stands first of all. Its box is taken as it is, and the line is named."""
    labels = yolo_folder(tmp_path / "labels", list("bcdefg"))
    dt = yolo_folder(tmp_path / "dt", list("bcdefg"), scores=True)
    write(labels / "a.txt", line)
    write(dt / "a.txt", line + " .9")
    result = scored(capsys, labels, dt, *SIZE)
    assert result["formats"] == {"truth": "yolo", "detections": "yolo"}
    assert result["map"] == ONE
    assert f"{labels / 'a.txt'}: line 1: " in result["notes"][0]
    assert "outside of [0, 1]: taken as it is" in result["notes"][0]
    assert f"{dt / 'a.txt'}: line 1: " in result["notes"][1]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0 50 50 20 20", "line 1: expected a width in [0, 1], got 20"),
        ("0 .5 .5 -.1 .5", "line 1: expected a width in [0, 1], got -0.1"),
        ("0 7 .5 .1 .5", "line 1: cx: expected a number in [0, 1], got 7, which is no fraction of the image's size"),
        ("cat .5 .5 .1 .5", "line 1: class: expected an integer >= 0, got 'cat'"),
        ("0.5 .5 .5 .1 .5", "line 1: class: expected an integer >= 0, got '0.5'"),
        ("0 .5 .5 .1", "line 1: expected class cx cy w h, got 4 words"),
        ("0 .5 .5 .1 .1 .1 .1 .1", "line 1: expected class cx cy w h, got 8 words"),
        ("0 .5 .5 x .1", "line 1: w: expected a number, got 'x'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, capsys: Capture, line: str, text: str) -> None:
    labels = yolo_folder(tmp_path / "labels", list("bcdefg"))
    dt = yolo_folder(tmp_path / "dt", list("bcdefg"), scores=True)
    write(labels / "a.txt", line)
    assert fails(capsys, labels, dt, *SIZE) == f"{labels / 'a.txt'}: {text}"
    result = scored(capsys, labels, dt, *SIZE, "--skip-invalid")
    assert result["map"] == ONE
    assert result["skipped"] == {"count": 1, "records": [f"{labels / 'a.txt'}: {text}"]}


def test_polygons_are_read_as_their_boxes(tmp_path: Path, capsys: Capture) -> None:
    """Lines of YOLO's segmentation, in labels and in results with a score; boxes among them."""
    labels = folder_of(tmp_path / "labels", a="0 .1 .2 .5 .2 .3 .6\n1 .5 .5 .2 .2", b="1 .1 .1 .3 .1 .3 .4 .1 .4")
    dt = folder_of(
        tmp_path / "dt", a="0 .1 .2 .5 .2 .3 .6 .3 .3 .9\n1 .5 .5 .2 .2 .8", b="1 .1 .1 .3 .1 .3 .4 .1 .4 .9"
    )
    result = scored(capsys, labels, dt, *SIZE)
    assert result["map"] == ONE
    assert result["notes"] == [
        f"{labels}: 2 lines of polygons, the first at a.txt: line 1: each polygon is read as its box",
        f"{dt}: 2 lines of polygons, the first at a.txt: line 1: each polygon is read as its box",
    ]
    assert "2 lines of polygons" in shown(capsys, labels, dt, *SIZE)[1]


def test_lines_with_keypoints_are_read_as_their_boxes(tmp_path: Path, capsys: Capture) -> None:
    points = [".4 .4 2 .6 .6 1 0 0 0 .5 .5 2", ".45 .4 2 .6 .55 2 .5 .6 2 .5 .5 2"]
    boxes = ["0 .5 .5 .3 .4", "0 .5 .5 .25 .5"]
    labels = folder_of(tmp_path / "labels", **{n: f"{b} {p}" for n, b, p in zip("ab", boxes, points, strict=True)})
    dt = folder_of(tmp_path / "dt", **{n: f"{b} {p} .9" for n, b, p in zip("ab", boxes, points, strict=True)})
    result = scored(capsys, labels, dt, *SIZE)
    assert result["map"] == ONE
    assert (
        "2 lines of boxes with keypoints, the first at a.txt: line 1: the keypoints are not scored"
        in result["notes"][0]
    )


@pytest.mark.parametrize("scored_lines", [False, True])
@pytest.mark.parametrize("turn", range(4))
def test_corners_of_equal_number_are_no_keypoints(
    tmp_path: Path, capsys: Capture, turn: int, scored_lines: bool
) -> None:
    """Oriented boxes: four corners in every line, which begin at any corner. Found as boxes, or as corners again."""
    rng = np.random.default_rng(turn)
    labels, dt = {}, {}
    for i in range(8):
        x, y, w, h = rng.uniform(0.05, 0.7), rng.uniform(0.05, 0.7), rng.uniform(0.03, 0.25), rng.uniform(0.03, 0.25)
        corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
        line = f"{i % 2} " + " ".join(f"{a!r} {b!r}" for a, b in corners[turn:] + corners[:turn])
        labels[str(i)] = line
        dt[str(i)] = f"{line} .9" if scored_lines else f"{i % 2} {x + w / 2!r} {y + h / 2!r} {w!r} {h!r} .9"
    result = scored(capsys, folder_of(tmp_path / "labels", **labels), folder_of(tmp_path / "dt", **dt), *SIZE)
    assert result["map"] == ONE
    assert "8 lines of polygons" in result["notes"][0]


@pytest.mark.parametrize("points", [".45 .4 .55 .6", "0 0 0 0", ".4 .35 0 0"])
def test_one_line_with_keypoints_of_two_numbers(tmp_path: Path, capsys: Capture, points: str) -> None:
    labels = folder_of(tmp_path / "labels", a=f"0 .5 .5 .2 .4 {points}")
    dt = folder_of(tmp_path / "dt", a="0 .5 .5 .2 .4 .9")
    try:
        result = scored(capsys, labels, dt, *SIZE)
    except AssertionError:
        assert "--points polygon or keypoints must be named" in fails(capsys, labels, dt, *SIZE)
    else:
        assert result["map"] == ONE
    assert scored(capsys, labels, dt, *SIZE, "--points", "keypoints")["map"] == ONE
    assert scored(capsys, labels, dt, *SIZE, "--points", "polygon")["map"] == 0


def test_track_ids_are_no_scores(tmp_path: Path, capsys: Capture) -> None:
    labels = yolo_folder(tmp_path / "labels", list("abc"))
    dt = folder_of(
        tmp_path / "dt", **{p.stem: p.read_text() + f" {i + 1}" for i, p in enumerate(sorted(labels.iterdir()))}
    )
    assert fails(capsys, labels, dt, *SIZE).endswith("b.txt: line 1: score: expected a number in [0, 1], got 2")


def test_two_files_of_one_image(tmp_path: Path, capsys: Capture) -> None:
    labels = yolo_folder(tmp_path / "labels", ["a", "a.jpg", "b"])
    assert fails(capsys, labels, labels, *SIZE).endswith(
        "a.txt: expected one file for each image, got a.jpg.txt as well"
    )


def test_yolo_of_as_many_classes_as_images(tmp_path: Path, capsys: Capture) -> None:
    labels = folder_of(tmp_path / "labels", **{str(i): f"{i} .3 .3 .2 .2\n{(i + 1) % 3} .6 .6 .2 .3" for i in range(3)})
    dt = folder_of(tmp_path / "dt", **{p.stem: p.read_text().replace("\n", " .9\n") + " .8" for p in labels.iterdir()})
    result = scored(capsys, labels, dt, *SIZE)
    assert (result["formats"]["detections"], result["map"]) == ("yolo", ONE)


def test_the_place_of_the_score(tmp_path: Path, capsys: Capture) -> None:
    labels = yolo_folder(tmp_path / "labels", list("abcdef"))
    dt = tmp_path / "dt"
    for path in labels.iterdir():
        folder_of(dt, **{path.stem: path.read_text().replace(" ", " 0.9 ", 1)})
    text = fails(capsys, labels, dt, *SIZE)
    assert text.startswith("evaluate: --score first or last must be named: ")
    assert scored(capsys, labels, dt, *SIZE, "--score", "first")["map"] == ONE
    assert scored(capsys, labels, dt, *SIZE, "--score", "last")["map"] < 0.5


def test_the_place_of_the_score_of_two_lines(tmp_path: Path, capsys: Capture) -> None:
    """Both orders stay in the image; the true boxes tell."""
    labels = folder_of(tmp_path / "labels", a="0 .5 .5 .2 .2\n1 .45 .4 .3 .3")
    dt = folder_of(tmp_path / "dt", a="0 .5 .5 .5 .2 .2\n1 .3 .45 .4 .3 .3")
    assert "overlap 0 true boxes, and 2 if the score is first in the lines" in fails(capsys, labels, dt, *SIZE)
    assert scored(capsys, labels, dt, *SIZE, "--score", "first")["map"] == ONE


def test_the_place_of_the_score_in_pixels(tmp_path: Path, capsys: Capture) -> None:
    labels = folder_of(tmp_path / "labels", a="cat 10 20 30 40\ndog 50 20 30 30", b="cat 5 5 20 20")
    dt = folder_of(tmp_path / "dt", a="cat 10 20 30 40 .9\ndog 50 20 30 30 .8", b="cat 5 5 20 20 1")
    assert "--score first or last must be named" in fails(capsys, labels, dt, "--boxes", "xywh")
    assert scored(capsys, labels, dt, "--boxes", "xywh", "--score", "last")["map"] == ONE


def test_class_numbers_as_floats(tmp_path: Path, capsys: Capture) -> None:
    """NumPy's savetxt writes 0.000000e+00."""
    labels = folder_of(tmp_path / "labels", a="0.0 .5 .5 .2 .2", b="1.000000e+00 .5 .5 .3 .3")
    dt = folder_of(tmp_path / "dt", a="0 .5 .5 .2 .2 .9", b="1 .5 .5 .3 .3 .9")
    assert scored(capsys, labels, dt, *SIZE)["map"] == ONE


def test_images_among_the_labels(tmp_path: Path, capsys: Capture) -> None:
    """Darknet keeps labels and images in one folder."""
    from PIL import Image

    labels = yolo_folder(tmp_path / "obj_train_data", list("abc"))
    for name in "abc":
        Image.new("L", (100, 100)).save(labels / f"{name}.jfif", format="JPEG")
    dt = yolo_folder(tmp_path / "dt", list("abc"), scores=True)
    assert scored(capsys, labels, dt)["map"] == ONE


def test_the_folder_above_is_not_the_data_set(tmp_path: Path, capsys: Capture) -> None:
    voc_folder(tmp_path / "VOC2007" / "Annotations", ["a"])
    dt = write(tmp_path / "dt.json", voc_results(["a"]))
    assert fails(capsys, tmp_path / "VOC2007", dt).endswith("; it has the folder Annotations: name that one")
    yolo_folder(tmp_path / "set" / "labels" / "val", ["a"])
    assert fails(capsys, tmp_path / "set", dt).endswith("; it has the folder labels/val: name that one")


def test_fractions_in_a_folder_of_pixels_are_noted(tmp_path: Path, capsys: Capture) -> None:
    labels = folder_of(tmp_path / "labels", a="0 10 20 30 40\n0 50 20 80 50", b="0 5 5 20 20", c="0 .1 .2 .5 .6")
    dt = folder_of(tmp_path / "dt", a="0 .9 10 20 30 40")
    notes = scored(capsys, labels, dt)["notes"]
    assert notes[0] == (
        f"{labels / 'c.txt'}: line 1: a box within one pixel: the numbers look like fractions of the image"
    )


# ----------------------------------------------------------------------------------------------------- VOC
@pytest.mark.parametrize(
    ("word", "true_boxes"),
    [("0", 3), ("", 3), ("Unspecified", 3), ("False", 3), ("0.0", 3), ("no", 3), ("1", 0), ("true", 0), ("Yes", 0)],
)
def test_words_for_difficult(tmp_path: Path, capsys: Capture, word: str, true_boxes: int) -> None:
    folder = voc_folder(tmp_path / "xml", list("abc"), f"<difficult>{word}</difficult>")
    dt = write(tmp_path / "dt.json", voc_results(list("abc")))
    result = scored(capsys, folder, dt, "--labels", "position")
    assert result["true_boxes"] == true_boxes
    assert result["map"] == (ONE if true_boxes else -1)
    assert (word == "Unspecified") == any("'Unspecified': taken as not difficult" in note for note in result["notes"])


def test_other_words_for_difficult_are_errors(tmp_path: Path, capsys: Capture) -> None:
    folder = voc_folder(tmp_path / "xml", ["a"], "<difficult>maybe</difficult>")
    dt = write(tmp_path / "dt.json", voc_results(["a"]))
    assert fails(capsys, folder, dt).endswith("a.xml: object[0].difficult: expected 0 or 1, got 'maybe'")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ('<annotations><image name="a"><box label="x" xtl="1"/></image></annotations>', "got <annotations>"),
        ("<html><body>404</body></html>", "got <html>"),
        ("<annotation><Object><name>cat</name></Object></annotation>", "got <Object> elsewhere"),
        ("<annotation><item><bndbox/></item></annotation>", "got <item> elsewhere"),
        ('<annotation><object name="cat"/></annotation>', "object[0].name: expected an element, got an attribute"),
        ("<Annotation/>", "got <Annotation>"),
    ],
)
def test_xml_that_is_not_voc(tmp_path: Path, capsys: Capture, text: str, want: str) -> None:
    folder = voc_folder(tmp_path / "xml", ["a", "b"])
    write(folder / "c.xml", text)
    dt = write(tmp_path / "dt.json", voc_results(["a"]))
    message = fails(capsys, folder, dt)
    assert message.startswith(f"{folder / 'c.xml'}: ")
    assert want in message


def test_sizes_and_words_that_are_no_vocs(tmp_path: Path, capsys: Capture) -> None:
    folder = voc_folder(tmp_path / "xml", ["a"], form="{}")
    dt = write(tmp_path / "dt.json", voc_results(["a"]))
    text = (folder / "a.xml").read_text()
    write(
        folder / "a.xml", text.replace("<object>", f"<size><width>{'9' * 400}</width><height>1</height></size><object>")
    )
    assert scored(capsys, folder, dt, "--labels", "position")["map"] == ONE
    write(folder / "a.xml", text.replace("<bndbox>", "<Difficult>1</Difficult><bndbox>"))
    assert fails(capsys, folder, dt).endswith("a.xml: expected <difficult>, got <Difficult>")
    write(folder / "a.xml", text.replace("<bndbox>", "<difficult>1</difficult><bndbox>"))
    assert scored(capsys, folder, dt, "--labels", "position")["notes"][0].startswith("all true boxes are difficult")


def test_a_name_space_is_dropped(tmp_path: Path, capsys: Capture) -> None:
    folder = voc_folder(tmp_path / "xml", list("abc"))
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("<annotation>", '<annotation xmlns="http://example.com/voc">'))
    dt = write(tmp_path / "dt.json", voc_results(list("abc")))
    assert scored(capsys, folder, dt, "--labels", "position")["map"] == ONE


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "big5", "shift_jis", "utf-16", "utf8", "utf_16", "iso-8859-1"])
def test_xml_in_other_encodings(tmp_path: Path, capsys: Capture, encoding: str) -> None:
    folder = voc_folder(tmp_path / "xml", list("abc"))
    for path in folder.iterdir():
        said = "" if encoding == "iso-8859-1" else "<!-- \u4e2d -->"
        text = f'<?xml version="1.0" encoding="{encoding}"?>\n{said}' + path.read_text()
        path.write_bytes(text.encode(encoding))
    dt = write(tmp_path / "dt.json", voc_results(list("abc")))
    assert scored(capsys, folder, dt, "--labels", "position")["map"] == ONE


def test_xml_in_no_encoding(tmp_path: Path, capsys: Capture) -> None:
    folder = voc_folder(tmp_path / "xml", ["a"])
    dt = write(tmp_path / "dt.json", voc_results(["a"]))
    write(folder / "a.xml", '<?xml version="1.0" encoding="klingon"?><annotation/>')
    assert fails(capsys, folder, dt).endswith("a.xml: expected XML in an encoding that Python knows, got 'klingon'")
    (folder / "a.xml").write_bytes(b'<?xml version="1.0" encoding="gbk"?><annotation>\xff\xff</annotation>')
    assert "a.xml: not XML in the encoding that it names" in fails(capsys, folder, dt)


@pytest.mark.parametrize("start", ["comp4_det_test_", "results_", ""])
@pytest.mark.parametrize("format", ["voc", "auto"])
def test_names_of_class_files(tmp_path: Path, capsys: Capture, start: str, format: str) -> None:
    folder = voc_folder(tmp_path / "xml", list("abc"))
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("dog", "traffic_light"))
    files = {}
    for n, (image, word) in enumerate(zip("abc", ("cat", "traffic_light", "fox"), strict=True)):
        files[f"{start}{word}"] = f"{image} 0.9 {10 + n} 20 {49 + n} 59"
    result = scored(capsys, folder, folder_of(tmp_path / "dt", **files), "--format", format)
    assert result["formats"]["detections"] == "voc"
    assert result["map"] == ONE


def test_an_image_name_like_a_class_file(tmp_path: Path, capsys: Capture) -> None:
    names = ["cam_det_001", "cam_det_cat", "b"]
    labels = folder_of(tmp_path / "labels", **dict.fromkeys(names, "cat 10 20 30 40"))
    dt = folder_of(tmp_path / "dt", **dict.fromkeys(names, "cat .9 10 20 30 40"))
    result = scored(capsys, labels, dt)
    assert (result["formats"]["detections"], result["map"]) == ("txt", ONE)


def test_boxes_of_txt_detections_of_other_truth(tmp_path: Path, capsys: Capture) -> None:
    folder = voc_folder(tmp_path / "xml", list("abc"))
    lines = {n: f"{w} .9 {10 + i} 20 39 39" for i, (n, w) in enumerate(zip("abc", ("cat", "dog", "fox"), strict=True))}
    dt = folder_of(tmp_path / "dt", **lines)
    assert scored(capsys, folder, dt, "--boxes", "xywh")["map"] == ONE
    json_dt = write(tmp_path / "dt.json", voc_results(list("abc")))
    assert "--boxes does not go with a data set that is voc and detections that are coco" in fails(
        capsys, folder, json_dt, "--boxes", "xywh"
    )


def test_images_without_detections_are_noted_before_the_figure(tmp_path: Path, capsys: Capture) -> None:
    folder = voc_folder(tmp_path / "xml", [str(i) for i in range(10)])
    dt = write(tmp_path / "dt.json", voc_results([str(i) for i in range(4)]))
    out, err = shown(capsys, folder, dt, "--labels", "position")
    assert "only 4 of 10 images with true boxes have detections" in err
    assert "--image-set" in err
    assert out.startswith("10 images")


def test_vocs_figure_needs_a_choice(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    for options, noted in ((["--method", "voc2007"], True), (["--method", "area", "--inclusive"], False), ([], False)):
        notes = scored(capsys, gt, dt, *options)["notes"]
        assert any("use --inclusive for these, or --exclusive" in note for note in notes) == noted


def test_lvis_and_ignore_are_noted(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    content = json.loads(gt.read_text())
    for image in content["images"]:
        image["neg_category_ids"], image["not_exhaustive_category_ids"] = [1], []
    gt.write_text(json.dumps(content))
    assert "a LVIS data set, scored by COCO's rules" in scored(capsys, gt, dt, "--rule", "coco")["notes"][-1]
    result = scored(capsys, gt, dt)
    assert (result["settings"]["rule"], result["settings"]["max_dets"]) == ("lvis", [300])
    gt, dt = coco(tmp_path)
    before = scored(capsys, gt, dt)
    content = json.loads(gt.read_text())
    content["annotations"][0]["ignore"] = 1
    content["annotations"][1]["ignore"] = None
    gt.write_text(json.dumps(content))
    after = scored(capsys, gt, dt)
    assert after["true_boxes"] == before["true_boxes"] - 1
    assert "1 annotations have ignore set: neither found nor missed" in after["notes"][0]
    content["annotations"][0]["ignore"] = "yes"
    gt.write_text(json.dumps(content))
    assert fails(capsys, gt, dt) == f'{gt}: annotations[0].ignore: expected 0 or 1, got "yes"'


# ----------------------------------------------------------------------------------------- nothing in a file
def test_npz_without_a_box(tmp_path: Path, capsys: Capture) -> None:
    gt, _ = coco(tmp_path)
    write(tmp_path / "none.json", [])
    assert main(["nms", str(tmp_path / "none.json"), "-o", str(tmp_path / "own.npz")]) == 0
    np.savez(tmp_path / "lists.npz", boxes=[], scores=[], labels=[])
    np.savez(tmp_path / "offsets.npz", boxes=np.zeros((0, 4)), scores=[], labels=[], offsets=[0, 0, 0], image_id=[5, 6])
    np.savez(tmp_path / "no_offsets.npz", boxes=[], scores=[], labels=[], offsets=[], image_id=[])
    capsys.readouterr()
    for name in ("own", "lists", "offsets", "no_offsets"):
        result = scored(capsys, gt, tmp_path / f"{name}.npz")
        assert (result["map"], result["scored_detections"]) == (0, 0)
        assert result["notes"] == [f"{tmp_path / f'{name}.npz'}: no detection: every true box is missed"]
        for suffix in ("json", "npz"):
            assert main(["nms", str(tmp_path / f"{name}.npz"), "-o", str(tmp_path / f"out.{suffix}")]) == 0
        capsys.readouterr()
    negatives = {"boxes": [], "labels": [], "image_names": np.array(["a", "b"])}
    np.savez(tmp_path / "gt.npz", **negatives)
    result = scored(capsys, tmp_path / "gt.npz", tmp_path / "lists.npz")
    assert (result["images"], result["map"]) == (2, -1)
    assert result["notes"] == ["the data set has no true box: every score is -1"]


# ------------------------------------------------------------------------------------------ invalid records
def test_skip_invalid_counts_and_lists(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    want = scored(capsys, gt, dt)["stats"]
    rows = json.loads(dt.read_text())
    bad = [
        {**rows[0], "bbox": [1, 2, -3, 4]}, {**rows[0], "score": None}, {**rows[0], "image_id": 99}, 5,
        {key: value for key, value in rows[0].items() if key != "bbox"},
    ]  # fmt: skip
    text = json.dumps([*bad[:2], *rows, *bad[2:]]).replace('"score": null', '"score": NaN')
    write(dt, text)
    assert fails(capsys, gt, dt) == f"{dt}: results[0].bbox: expected a width >= 0, got -3"
    result = scored(capsys, gt, dt, "--skip-invalid")
    assert result["stats"] == want
    n = len(rows)
    assert result["skipped"]["count"] == 5
    texts = result["skipped"]["records"]
    assert f"{dt}: results[0].bbox: expected a width >= 0, got -3" in texts
    assert f"{dt}: results[1].score: expected a number, got nan" in texts
    assert f"{dt}: results[{n + 3}]: expected an object, got 5" in texts
    assert f"{dt}: results[{n + 4}].bbox: expected four numbers, got no such field" in texts
    _, err = shown(capsys, gt, dt, "--skip-invalid")
    assert "left out 5 invalid records:" in err


def test_skip_invalid_numbers_beyond_double(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    want, huge = scored(capsys, gt, dt)["stats"], "1" + "0" * 400
    rows = json.loads(dt.read_text())
    bad = [{**rows[0], "score": "@"}, {**rows[0], "bbox": [0, 0, "@", 1]}, {**rows[0], "category_id": "@"}]
    write(dt, json.dumps([*rows, *bad]).replace('"@"', huge))
    result = scored(capsys, gt, dt, "--skip-invalid")
    assert (result["stats"], result["skipped"]["count"]) == (want, 3)
    assert main(["nms", str(dt), "-o", str(tmp_path / "o.json"), "--skip-invalid"]) == 0
    capsys.readouterr()
    content = json.loads(gt.read_text())
    content["annotations"].append({**content["annotations"][0], "id": 800, "area": "@"})
    write(gt, json.dumps(content).replace('"@"', huge))
    assert scored(capsys, gt, dt, "--skip-invalid")["skipped"]["count"] == 4


def test_skip_invalid_true_boxes(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    want = scored(capsys, gt, dt)["stats"]
    content = json.loads(gt.read_text())
    first = content["annotations"][0]
    content["annotations"] += [
        {**first, "id": 900, "bbox": [0, 0, 1]},
        {**first, "id": 901, "category_id": 77},
        {**first, "bbox": [0, 0, 9, 9]},
    ]
    gt.write_text(json.dumps(content))
    assert "annotations" in fails(capsys, gt, dt)
    result = scored(capsys, gt, dt, "--skip-invalid")
    assert result["stats"] == want
    assert result["skipped"]["count"] == 3
    assert f"{gt}: annotation 901.category_id: expected a category of the file, got 77" in result["skipped"]["records"]


def test_skip_invalid_rows_of_npz(tmp_path: Path, capsys: Capture) -> None:
    boxes = np.array([[0.0, 0, 10, 10], [5, 5, 4, 9], [0, 0, 20, 20], [0, np.nan, 5, 5]])
    columns = {"labels": np.zeros(4, int), "image": np.array([0, 0, 1, 1])}
    np.savez(tmp_path / "gt.npz", boxes=boxes, difficult=np.array([0, 0, 0, 0]), **columns)
    np.savez(tmp_path / "dt.npz", boxes=boxes, scores=np.array([0.5, 0.5, 0.4, np.inf]), **columns)
    assert "row 3, boxes: expected finite numbers, got nan" in fails(capsys, tmp_path / "gt.npz", tmp_path / "dt.npz")
    result = scored(capsys, tmp_path / "gt.npz", tmp_path / "dt.npz", "--skip-invalid")
    assert (result["map"], result["true_boxes"], result["skipped"]["count"]) == (ONE, 2, 4)


def test_nms_skips_invalid_records(tmp_path: Path, capsys: Capture) -> None:
    _, dt = coco(tmp_path)
    rows = json.loads(dt.read_text())
    assert main(["nms", str(dt), "-o", str(tmp_path / "want.json")]) == 0
    write(dt, [rows[0], {**rows[1], "score": "high"}, *rows[1:], {**rows[0], "bbox": None}])
    capsys.readouterr()
    assert "results[1].score" in command_fails(capsys, "nms", dt, "-o", tmp_path / "out.json")
    assert main(["nms", str(dt), "-o", str(tmp_path / "out.json"), "--skip-invalid", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["skipped"]["count"] == 2
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads((tmp_path / "want.json").read_text())
    boxes = np.array([[0.0, 0, 10, 10], [5, 5, 4, 9], [0, 0, 20, 20]])
    np.savez(tmp_path / "in.npz", boxes=boxes, scores=np.array([0.5, 0.5, 0.4]), image_ids=np.array([3, 3, 4]))
    assert main(["nms", str(tmp_path / "in.npz"), "-o", str(tmp_path / "out.npz"), "--skip-invalid"]) == 0
    assert "left out 1 invalid records" in capsys.readouterr().err
    with np.load(tmp_path / "out.npz") as out:
        assert out["image_ids"].tolist() == [3, 4]
