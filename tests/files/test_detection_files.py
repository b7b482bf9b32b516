"""Readers of detections: the columns they return, and the one-line error of a wrong file."""

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reach import exhaustive

from fastdet._core import backends
from fastdet._files.coco import coco_content, read_coco, read_coco_results
from fastdet._files.coco_objects import columns_of
from fastdet._files.data_set import DataSet, ImageNames, positions
from fastdet._files.errors import FormatError
from fastdet._files.txt import read_txt, read_txt_results
from fastdet._files.voc import read_voc, read_voc_results
from fastdet._files.yolo import read_yolo, read_yolo_results

GOOD: dict[str, Any] = {
    "info": {"nested": [{"a": [1, -2.5e3, 'x\\"\n', None, True]}], "empty": {}, "none": []},
    "images": [{"id": 7, "file_name": "é\U0001f600.jpg", "width": 640, "height": 480}, {"id": -3}],
    "categories": [{"id": 2, "name": "cat"}, {"id": 9, "name": "dog"}],
    "annotations": [
        {"id": 0, "image_id": 7, "category_id": 9, "bbox": [1, 2.5, 3e1, 4], "area": 7.25, "iscrowd": 1},
        {"id": 5, "image_id": -3, "category_id": 2, "bbox": [0.1, -2, 0, 1e-7], "segmentation": [[1, 2]]},
    ],
}
RESULT = {"image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("form", ["ascii", "utf-8", "indented", "gz"])
def test_coco(tmp_path: Path, form: str) -> None:
    text = json.dumps(GOOD, ensure_ascii=form == "ascii", indent=3 if form == "indented" else None)
    path = tmp_path / ("a.json.gz" if form == "gz" else "a.json")
    path.write_bytes(gzip.compress(text.encode()) if form == "gz" else text.encode())
    data = read_coco(path)
    assert data.images.tolist() == [7, -3]
    assert data.image_names == ["é\U0001f600.jpg", ""]
    assert data.sizes.tolist() == [[640, 480], [0, 0]]
    assert data.category_names == ["cat", "dog"]
    truth = data.truth
    assert truth.image.tolist() == [7, -3]
    assert truth.label.tolist() == [9, 2]
    assert truth.boxes.tolist() == [[1, 2.5, 30, 4], [0.1, -2, 0, 1e-7]]
    assert truth.areas.tolist() == [7.25, 0]
    assert truth.flags.tolist() == [1, 0]
    assert truth.ids.tolist() == [0, 5]
    assert [x.dtype for x in truth[:7]] == [np.int64, np.int64, float, float, float, np.uint8, np.int64]
    assert all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(truth[:4], columns_of("", "annotations", GOOD["annotations"], results=False)[:4], strict=True)
    )


@pytest.mark.usefixtures("reader")
def test_names_that_are_no_strings(tmp_path: Path) -> None:
    not_a_string = [{"id": i, "file_name": name, "name": name} for i, name in enumerate((5, None, ["a"], "a"))]
    data = read_coco(
        write(tmp_path / "a.json", {"images": not_a_string, "categories": not_a_string, "annotations": []})
    )
    assert data.image_names == data.category_names == ["", "", "", "a"]


@pytest.mark.usefixtures("reader")
def test_results(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [RESULT, {**RESULT, "category_id": 77, "id": "any", "area": None}])
    columns = read_coco_results(path)
    assert columns.scores.tolist() == [0.5, 0.5]
    assert columns.label.tolist() == [2, 77]
    assert columns.areas.tolist() == [12, 12]
    assert len(read_coco_results(write(tmp_path / "b.json", " [ ] ")).image) == 0
    whole = read_coco_results(write(tmp_path / "c.json", {"images": [], "annotations": [RESULT]}))
    assert whole.image.tolist() == [7]


def numbers() -> list[float]:
    r = np.random.default_rng(3)
    values = [0.1, 1e22, 1e23, 123456789012345678.0, 5e-324, 1.7976931348623157e308, 2.0**53 + 2, 0.30000000000000004]
    for digits in range(1, 18):
        values += [float(f"{x:.{digits}g}") for x in r.random(40) * 10.0 ** r.integers(-30, 30, 40)]
    return values


@pytest.mark.usefixtures("reader")
def test_numbers_are_the_nearest_doubles(tmp_path: Path) -> None:
    values = numbers()
    path = write(tmp_path / "a.json", [{**RESULT, "score": x, "bbox": [-x, x, 0, 1]} for x in values])
    columns = read_coco_results(path)
    assert columns.scores.tolist() == values
    assert columns.boxes[:, 0].tolist() == [-x for x in values]


@pytest.mark.usefixtures("reader")
def test_records_at_every_place_of_the_buffer(tmp_path: Path) -> None:
    for shift in (0, 1, 17, 250):
        records = [{**RESULT, "image_id": i, "score": i / 8, "note": "x" * (i * 37 % 3000)} for i in range(900)]
        columns = read_coco_results(write(tmp_path / "a.json", " " * shift + json.dumps(records)))
        assert columns.image.tolist() == list(range(900))
        assert columns.scores.tolist() == [i / 8 for i in range(900)]
    long = [{**RESULT, "note": '"' + "é\\" * 400_000}, RESULT]
    assert len(read_coco_results(write(tmp_path / "a.json", long)).image) == 2


def without(key: str) -> list[dict[str, Any]]:
    return [RESULT, {k: v for k, v in RESULT.items() if k != key}]


WRONG_FIELDS = [
    (without("bbox"), "results[1].bbox: expected four numbers, got no such field"),
    (without("image_id"), "results[1].image_id: expected an integer, got no such field"),
    (without("category_id"), "results[1].category_id: expected an integer, got no such field"),
    (without("score"), "results[1].score: expected a number, got no such field"),
    ([{**RESULT, "bbox": [1, 2, -3, 4]}], "results[0].bbox: expected a width >= 0, got -3"),
    ([{**RESULT, "bbox": [1, 2, 3, -0.5]}], "results[0].bbox: expected a height >= 0, got -0.5"),
    ([{**RESULT, "image_id": 1.5}], "results[0].image_id: expected an integer, got 1.5"),
    ([RESULT, 5], "results[1]: expected an object, got 5"),
]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(("content", "text"), WRONG_FIELDS)
def test_wrong_field(tmp_path: Path, content: object, text: str) -> None:
    path = write(tmp_path / "a.json", content)
    with pytest.raises(FormatError) as raised:
        read_coco_results(path)
    assert str(raised.value) == f"{path}: {text}"


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "1e999", '"0.5"', "null", "[]", "true"])
@pytest.mark.parametrize("field", ["score", "bbox"])
def test_wrong_number(tmp_path: Path, bad: str, field: str) -> None:
    text = json.dumps([RESULT, {**RESULT, field: "@" if field == "score" else ["@", 1, 2, 3]}]).replace('"@"', bad)
    with pytest.raises(FormatError, match=r"results\[1\]"):
        read_coco_results(write(tmp_path / "a.json", text))


@pytest.mark.usefixtures("reader")
def test_not_json(tmp_path: Path) -> None:
    text = json.dumps([RESULT, {**RESULT, "more": {"x": ["é\\n", 1.5e-3, None]}}], ensure_ascii=False)
    for end in range(len(text)):  # wherever it breaks off
        with pytest.raises(FormatError) as raised:
            read_coco_results(write(tmp_path / "a.json", text[:end]))
        assert "\n" not in str(raised.value)
    for broken in (
        "",
        "x",
        "{",
        "[1 2]",
        text + "]",
        text.replace(":", ";", 1),
        "[" * 100_000,
        '["\\x"]',
        "[01]",
        "[1.]",
    ):
        with pytest.raises(FormatError):
            read_coco_results(write(tmp_path / "a.json", broken))


def test_truncated_says_where(tmp_path: Path) -> None:
    if backends.native is None:
        pytest.skip("the C++ backend is not built")
    path = write(tmp_path / "a.json", json.dumps([RESULT] * 3)[:-20])
    with pytest.raises(
        FormatError, match=r"a\.json: results\[2\]\.bbox: not JSON at byte \d+: .* got the end of the file"
    ):
        read_coco_results(path)


@pytest.mark.usefixtures("reader")
def test_duplicate_keys(tmp_path: Path) -> None:
    text = json.dumps([RESULT]).replace('"score"', '"score": 1, "score"')
    with pytest.raises(FormatError, match="score: expected once, got the key twice"):
        read_coco_results(write(tmp_path / "a.json", text))


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("section", "index", "change", "text"),
    [
        ("annotations", 1, {"image_id": 8}, "annotations[1].image_id: expected an image of the file, got 8"),
        ("annotations", 0, {"category_id": 1}, "annotations[0].category_id: expected a category of the file, got 1"),
        ("annotations", 1, {"id": 0}, "annotations[1].id: expected unique ids, got 0 as in [0]"),
        ("images", 1, {"id": 7}, "images[1].id: expected unique ids, got 7 as in [0]"),
        ("annotations", 0, {"area": -1}, "annotations[0].area: expected a number >= 0, got -1"),
    ],
)
def test_wrong_data_set(tmp_path: Path, section: str, index: int, change: dict[str, Any], text: str) -> None:
    content = json.loads(json.dumps(GOOD))
    content[section][index].update(change)
    path = write(tmp_path / "a.json", content)
    with pytest.raises(FormatError) as raised:
        read_coco(path)
    assert str(raised.value) == f"{path}: {text}"


@pytest.mark.usefixtures("reader")
def test_wrong_kind_of_file(tmp_path: Path) -> None:
    data = read_coco(write(tmp_path / "gt.json", GOOD))
    for content in ({"images": []}, 5, "true", '"x"'):
        with pytest.raises(FormatError, match="expected a list of detections"):
            read_coco_results(write(tmp_path / "a.json", content))
    with pytest.raises(FormatError, match="expected an object with images"):
        read_coco(write(tmp_path / "a.json", []))
    with pytest.raises(FormatError, match="expected the key 'categories'"):
        read_coco(write(tmp_path / "a.json", {"images": [], "annotations": []}))
    with pytest.raises(FormatError, match=r"results\[0\].image_id: expected an image of the data set, got 1"):
        read_coco_results(write(tmp_path / "a.json", [{**RESULT, "image_id": 1}]), data)
    with pytest.raises(FileNotFoundError):
        read_coco(tmp_path / "absent.json")


@pytest.mark.parametrize("times", [300, *exhaustive(1500)])
def test_any_bytes(tmp_path: Path, times: int) -> None:
    """Whatever a byte is changed to: columns or a FormatError."""
    text = json.dumps(GOOD).encode()
    r = np.random.default_rng(1)
    for _ in range(times):
        broken = bytearray(text)
        for at in r.integers(0, len(text), r.integers(1, 4)):
            broken[at] = r.integers(0, 256)
        path = tmp_path / "a.json"
        path.write_bytes(broken)
        with contextlib.suppress(FormatError):
            coco_content(path, "data set")


@pytest.mark.parametrize(
    "known", [[], [3], [0, 5, 9], [-(2**63), 0, 2**63 - 1], [2**63 - 2, 2**63 - 1], [-(2**63), 2 - 2**63]]
)
def test_positions(known: list[int]) -> None:
    values = [-(2**63), -1, 0, 1, 3, 5, 9, 10, 2**63 - 2, 2**63 - 1, 2 - 2**63]
    want = [known.index(v) if v in known else -1 for v in values]
    assert positions(np.array(known, np.int64), np.array(values, np.int64)).tolist() == want


# ---------------------------------------------------------------------------------------------- folders
VOC = """<annotation><filename>b.jpg</filename><size><width>40</width><height>30</height></size>
<object><name>dog</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>7</ymax></bndbox>
</object><object><name>cat</name><bndbox><xmin>2.5</xmin><ymin>2</ymin><xmax>3</xmax><ymax>2</ymax></bndbox></object>
</annotation>"""


def folder(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name.replace("_", ".")).write_text(text, "utf-8")
    return path


def test_voc(tmp_path: Path) -> None:
    data = read_voc(folder(tmp_path / "v", b_xml=VOC.format(4), a_xml="<annotation/>"))
    assert data.image_names == ["a", "b"]
    assert data.sizes.tolist() == [[0, 0], [40, 30]]
    assert data.category_names == ["cat", "dog"]
    assert data.offset == 1
    assert data.truth.label.tolist() == [1, 0]
    assert data.truth.boxes.tolist() == [[1, 2, 3, 5], [2.5, 2, 0.5, 0]]
    assert data.truth.areas.tolist() == [24, 1.5]
    assert data.truth.flags.tolist() == [2, 0]
    assert read_voc(tmp_path / "v", ["dog", "cat"]).truth.label.tolist() == [0, 1]
    with pytest.raises(FormatError, match=r"b.xml: object\[1\].name: expected one of the classes, got 'cat'"):
        read_voc(tmp_path / "v", ["dog"])


@pytest.mark.parametrize(
    ("xmax", "text"),
    [("0", "xmax: expected at least 1, got 0"), ("x", "got 'x'"), ("", "got 'none'"), ("nan", "a number")],
)
def test_wrong_voc(tmp_path: Path, xmax: str, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        read_voc(folder(tmp_path / "v", b_xml=VOC.format(xmax)))
    with pytest.raises(FormatError, match=r"b.xml: not XML"):
        read_voc(folder(tmp_path / "w", b_xml=VOC[:50]))


def test_boxes_without_area_are_noted(tmp_path: Path) -> None:
    data = read_voc(folder(tmp_path / "v", b_xml=VOC.format(4)))
    path = tmp_path / "v" / "b.xml"
    assert data.notes == (f"{path}: object[1].bndbox: a box without area, 0.5 x 0: counts as 1.5 x 1 pixels",)
    open_end = read_voc(tmp_path / "v", offset=0.0)
    assert open_end.notes == (f"{path}: object[1].bndbox: a box without area, 0.5 x 0: no detection can match it",)
    assert open_end.truth.areas.tolist() == [15, 0]
    data = read_txt(folder(tmp_path / "t", a_txt="dog 1 2 1 6\ndog 1 2 3 4"))
    assert data.notes == (f"{tmp_path / 't' / 'a.txt'}: line 1: a box without area, 0 x 4: no detection can match it",)
    data = read_yolo(folder(tmp_path / "y", a_txt="0 .5 .5 .25 .5\n0 .5 .5 0 .5"), {"a": (4, 4)})
    assert data.notes == (f"{tmp_path / 'y' / 'a.txt'}: line 2: a box without area, 0 x 2: no detection can match it",)


def test_voc_sizes_that_are_no_numbers(tmp_path: Path) -> None:
    text = VOC.format(4).replace("<width>40<", "<width>wide<")
    assert read_voc(folder(tmp_path / "v", b_xml=text)).sizes.tolist() == [[0, 0]]


def test_names_with_dots(tmp_path: Path) -> None:
    for name, text in (("g", "dog 1 2 4 6"), ("d", "dog .5 1 2 4 6")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a_jpg.rf.0f1.txt").write_text(text)
    data = read_txt(tmp_path / "g")
    assert data.image_names == ["a_jpg.rf.0f1"]
    assert read_txt_results(tmp_path / "d", data)[0].image.tolist() == [0]
    coco = data._replace(image_names=["train/a_jpg.rf.0f1.JPG"])
    assert read_txt_results(tmp_path / "d", coco)[0].image.tolist() == [0]


def data_set(images: list[str], classes: list[str], first: int = 0) -> DataSet:
    """Images and classes without boxes, of ids from ``first``."""
    none = columns_of("", "annotations", [], results=False)
    ids = [np.arange(first, first + len(names)) for names in (images, classes)]
    return DataSet(ids[0], images, np.full((len(images), 2), 10), ids[1], classes, none)


def test_images_of_one_name_in_several_folders(tmp_path: Path) -> None:
    names = ImageNames(data_set(["vid1/1.jpg", "vid2/1.jpg", "vid2/2.jpg", "3.png", "vid1/3.jpg", ""], []))
    asked = ["vid1/1.jpg", "./vid2/1.png", "2", "3", "vid1/3", "4", ""]
    assert [names.find("a", name) for name in asked] == [0, 1, 2, 3, 4, None, None]
    assert [names.find("a", name) for name in asked] == [0, 1, 2, 3, 4, None, None]  # the same name again is no second
    for name in ("1", "vid3/1.jpg"):
        with pytest.raises(FormatError) as raised:
            names.find("a", name)
        text = f"a: expected the name of one image of the data set, got {name!r} for 'vid1/1.jpg' (id 0) and"
        assert str(raised.value) == f"{text} 'vid2/1.jpg' (id 1)"
    with pytest.raises(FormatError, match=r"one name for each image .*, got '2' and 'vid9/2.jpg' for 'vid2/2.jpg'"):
        names.find("a", "vid9/2.jpg")


@pytest.mark.parametrize("read", [read_txt_results, read_yolo_results])
def test_files_of_one_name_in_several_folders(tmp_path: Path, read: Any) -> None:
    labels = folder(tmp_path / "d", b_txt="", a_txt="0 .5 .5 .25 .5 .75")
    with pytest.raises(FormatError, match=r"a\.txt: expected the name of one image .*'x/a.jpg' .*'y/a.jpg'"):
        read(labels, data_set(["x/a.jpg", "y/a.jpg", "b.jpg"], ["0"]))


def test_classes_of_detections_alone_are_no_others(tmp_path: Path) -> None:
    detections = folder(tmp_path / "d", a_txt="cow .5 0 0 1 1\nfox .5 0 0 1 1\ndog .5 0 0 1 1\ncow .5 0 0 1 1")
    columns, others = read_txt_results(detections, data_set(["a"], ["cat", "dog"], 5))
    assert columns.label.tolist() == [7, 8, 6, 7]
    assert others == {7: "cow", 8: "fox"}
    for names, got in ((["cat", "", "dog"], "none for 6"), (["cat", "dog", "cat"], "'cat' for 5 and 7")):
        for read, path in (
            (read_txt_results, detections),
            (read_voc_results, folder(tmp_path / f"v{got[0]}", cat_txt="a .5 0 0 1 1")),
        ):
            with pytest.raises(FormatError) as raised:
                read(path, data_set(["a"], names, 5))
            text = f"{path}: expected categories with a name each, by which they are matched, got {got}"
            assert str(raised.value) == text
    numbers = folder(tmp_path / "y", a_txt="2 .5 .5 .1 .1 1\n02 .5 .5 .1 .1 1\n3 .5 .5 .1 .1 1\n0 .5 .5 .1 .1 1")
    assert read_yolo_results(numbers, data_set(["a"], ["", ""], 5))[0].label.tolist() == [2, 2, 3, 0]


def test_ids_that_no_float_holds(tmp_path: Path) -> None:
    first = 2**63 - 3
    data = data_set(["x", "a"], ["cat", "dog"], first)
    columns, _ = read_txt_results(folder(tmp_path / "d", a_txt="dog .5 0 0 1 1\nfox .5 0 0 1 1"), data)
    assert columns.image.tolist() == [first + 1] * 2
    assert columns.label.tolist() == [first + 1, 2**61]


def test_txt(tmp_path: Path) -> None:
    truth = folder(tmp_path / "g", b_txt="dog 1 2 4 6\npotted plant 0 0 1 1 difficult\n\n", a_txt="")
    data = read_txt(truth)
    assert (data.image_names, data.category_names) == (["a", "b"], ["dog", "potted plant"])
    assert data.truth.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 1, 1]]
    assert data.truth.flags.tolist() == [0, 2]
    assert read_txt(truth, form="xywh", offset=1.0).truth.areas.tolist() == [35, 4]
    results = folder(tmp_path / "d", b_txt="bird 0.25 1 2 4 6\ndog .5 0 0 2 2")
    columns, _ = read_txt_results(results, data)
    assert columns.image.tolist() == [1, 1]
    assert columns.label.tolist() == [2, 0]
    assert columns.scores.tolist() == [0.25, 0.5]
    with pytest.raises(FormatError, match="expected the name of an image of the data set, got 'c'"):
        read_txt_results(folder(tmp_path / "e", c_txt=""), data)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("dog 1 2 3", "line 2: expected class score x1 y1 x2 y2, got 4 words"),
        ("dog .5 1 2 3 4 5", "line 2: expected class score x1 y1 x2 y2, got 7 words"),
        ("dog .5 1 2 x 4", "line 2: x2: expected a number, got 'x'"),
        ("dog nan 1 2 3 4", "line 2: score: expected a number, got 'nan'"),
        ("dog .5 5 2 3 4", "line 2: expected a width >= 0, got -2 (boxes that are x y w h: --boxes xywh)"),
    ],
)
def test_wrong_txt(tmp_path: Path, line: str, text: str) -> None:
    data = read_txt(folder(tmp_path / "g", a_txt="dog 1 2 4 6"))
    results = folder(tmp_path / "d", a_txt="dog 1 0 0 1 1\n" + line)
    with pytest.raises(FormatError) as raised:
        read_txt_results(results, data)
    assert str(raised.value) == f"{results / 'a.txt'}: {text}"


def test_yolo(tmp_path: Path) -> None:
    labels = folder(tmp_path / "g", a_txt="1 .5 .5 .25 .5\n", b_txt="", classes_txt="cat\ndog\n")
    data: DataSet = read_yolo(labels, {"a": (40, 20), "b": (10, 10)})
    assert (data.image_names, data.category_names) == (["a", "b"], ["cat", "dog"])
    assert data.truth.boxes.tolist() == [[15, 5, 10, 10]]
    assert data.truth.label.tolist() == [1]
    columns, _ = read_yolo_results(folder(tmp_path / "d", a_txt="1 .5 .5 .25 .5 .75\n3 0 0 0 0 1"), data)
    assert columns.boxes[0].tolist() == [15, 5, 10, 10]
    assert columns.label.tolist() == [1, 3]
    assert columns.scores.tolist() == [0.75, 1]
    more = read_yolo(labels, {"a": (40, 20), "b": (10, 10), "aa": (5, 5)})  # an image without a file has no object
    assert (more.image_names, more.truth.image.tolist()) == (["a", "aa", "b"], [0])
    with pytest.raises(FormatError, match="expected labels of an image whose size is known, got no image of that name"):
        read_yolo(labels, {"a": (40, 20)})
    with pytest.raises(FormatError, match=r"line 1: class: expected less than 1, the number of classes, got 1"):
        read_yolo(labels, {"a": (40, 20), "b": (1, 1)}, ["cat"])
    with pytest.raises(FormatError, match=r"line 1: expected a width in \[0, 1\], got 25"):
        read_yolo(folder(tmp_path / "h", a_txt="1 5 5 25 5"), {"a": (40, 20)})
    with pytest.raises(FormatError, match=r"^no such file: .*absent$"):
        read_txt(tmp_path / "absent")
