"""``fastdet evaluate``: published figures of real data, every form of file, errors of one line, whole files."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import need, real_data

from fastdet._files import records
from fastdet.cli import evaluate, report
from fastdet.cli.app import main
from fastdet.coco import COCO, COCOeval
from fastdet.detection import DetectionMetrics

Capture = pytest.CaptureFixture[str]
TWELVE = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
TWELVE += ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")


def shown(capsys: Capture, *arguments: object) -> tuple[str, str]:
    """What is printed on stdout and stderr."""
    code = main(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out, err


def scored(capsys: Capture, *arguments: object) -> dict[str, Any]:
    """The one JSON object; NaN and infinity are no JSON."""
    out, err = shown(capsys, *arguments, "--json")
    assert err == ""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found: dict[str, Any] = json.loads(out, parse_constant=refuse)
    return found


def fails(capsys: Capture, *arguments: object) -> str:
    """The one line of an error; nothing is printed on stdout."""
    assert main(["evaluate", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastdet: ")
    assert err.count("\n") == 1
    return err[len("fastdet: ") : -1]


# ------------------------------------------------------------------------------- figures that were published
def test_coco_val2014_100(capsys: Capture) -> None:
    """The twelve numbers, and the text of cocoapi's own example, in pycocotools' words."""
    folder = real_data("coco_val2014_100")
    files = folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json"
    found = scored(capsys, *files)
    expected = json.loads((folder / "expected_stats.json").read_text())["bbox"]
    np.testing.assert_allclose(found["stats"], expected, rtol=0, atol=1e-12)
    assert found["stats"] == [found[key] for key in TWELVE]
    assert (found["images"], found["classes"], found["true_boxes"], found["scored_detections"]) == (100, 70, 830, 734)
    assert found["formats"] == {"truth": "coco", "detections": "coco"}
    lines = [line for line in shown(capsys, *files)[0].splitlines() if "@[" in line]
    bbox = (folder / "val2014_fake_eval_res.txt").read_text().split("type=bbox")[1].splitlines()[3:15]
    assert [line.split() for line in lines] == [line.split() for line in bbox]


def test_words_are_pycocotools(tmp_path: Path, capsys: Capture) -> None:
    folder = real_data("coco_val2014_100")
    files = folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json"
    lines = shown(capsys, *files)[0].splitlines()[1:]
    data = COCO(files[0])
    one = COCOeval(data, data.loadRes(files[1]))
    one.evaluate()
    one.accumulate()
    capsys.readouterr()
    one.summarize()
    assert lines == capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("method", "text", "key"), [("voc2007", "72.14", "ap11"), ("area", "74.52", "ap_area")])
def test_voc2007_test(capsys: Capture, method: str, text: str, key: str) -> None:
    folder = real_data("voc2007_test")
    files = folder / "gt.npz", folder / "det_yolov2_htt1084.npz"
    out, err = shown(capsys, *files, "--inclusive", "--method", method, "--per-class")
    assert err == ""
    assert re.search(rf"Mean AP +\((11 points|area)\) .* = 0\.{text.replace('.', '')} \({text} %\)", out)
    expected = json.loads((folder / "expected_yolov2_htt1084.json").read_text())["voc"]
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[-20:]}
    assert set(rows) == set(expected)
    for name, (ap, _, boxes, _) in rows.items():
        assert float(ap) == pytest.approx(expected[name][key], abs=0.5e-4 + 1e-6)
        assert int(boxes.replace(",", "")) == expected[name]["n_gt"]


@pytest.mark.parametrize(("method", "key"), [("voc2007", "11point"), ("area", "every_point")])
def test_padilla_toy(capsys: Capture, method: str, key: str) -> None:
    folder = real_data("padilla_toy")
    options = ("--boxes", "xywh", "--inclusive", "--iou", "0.1,0.3,0.5,0.75", "--method", method)
    found = scored(capsys, folder / "gts", folder / "dets", *options)
    expected = json.loads((folder / "expected.json").read_text())[key]
    assert [line["iou"] for line in found["summary"]] == ["0.10", "0.30", "0.50", "0.75", "0.10:0.75"]
    assert found["stats"][:4] == pytest.approx(list(expected.values()), abs=1e-9)
    assert found["stats"][4] == pytest.approx(np.mean(list(expected.values())), abs=1e-9)


def test_results_with_images_and_classes_of_their_own(capsys: Capture) -> None:
    """voc2012_100: ids of images and classes differ between the files, and names do not."""
    folder = real_data("voc2012_100")
    gt, dt = (json.loads((folder / name).read_text()) for name in ("gt_coco.json", "dets_coco.json"))
    image, category = (
        {x[key]: x["id"] for x in gt[part]} for part, key in (("images", "file_name"), ("categories", "name"))
    )
    called = (
        {i["id"]: image[i["file_name"]] for i in dt["images"]},
        {c["id"]: category[c["name"]] for c in dt["categories"]},
    )
    results = [
        {**a, "image_id": called[0][a["image_id"]], "category_id": called[1][a["category_id"]]}
        for a in dt["annotations"]
    ]
    data = COCO(gt)
    one = COCOeval(data, data.loadRes(results))
    one.evaluate()
    one.accumulate()
    one.summarize()
    capsys.readouterr()
    found = scored(capsys, folder / "gt_coco.json", folder / "dets_coco.json")
    assert found["stats"] == one.stats.tolist()
    assert 0.3 < found["map"] < 0.4


def test_cartucho_map(capsys: Capture) -> None:
    folder = real_data("cartucho_map")
    out, err = shown(capsys, folder / "ground-truth", folder / "detection-results", "--inclusive", "--method", "area")
    assert out.startswith("85 images, 30 classes, 686 true boxes to find, 450 detections\n")
    assert err.endswith("44 detections of no class of " + str(folder / "ground-truth") + " are not scored\n")


def test_boxes_without_area_are_told(tmp_path: Path, capsys: Capture) -> None:
    """bccd: two of its 4,888 boxes are single points; a detector that repeats the truth scores 1."""
    truth = real_data("bccd", "Annotations")
    for path in truth.glob("*.xml"):
        boxes = re.findall(r"<name>(\w+)</name>.*?<xmin>(\d+)</xmin>\s*<ymin>(\d+)</ymin>\s*<xmax>(\d+)</xmax>\s*"
                           r"<ymax>(\d+)</ymax>", path.read_text(), re.S)  # fmt: skip
        lines = [f"{name} 0.9 {' '.join(sides)}" for name, *sides in boxes]
        (tmp_path / f"{path.stem}.txt").write_text("\n".join(lines))
    out, err = shown(capsys, truth, tmp_path, "--iou", "0.5", "--areas", "all")
    assert out.splitlines()[:2] == [
        "364 images, 3 classes, 4,888 true boxes to find, 4,888 detections",
        " Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ] = 1.000",
    ]
    assert err.splitlines() == [
        f"fastdet: {truth}/BloodImage_{number}.xml: object[{i}].bndbox: a box without area, 0 x 0: "
        "1 x 1 pixels as its last one counts"
        for number, i in (("00338", 12), ("00343", 3))
    ]
    test = real_data("bccd", "ImageSets", "Main", "test.txt")
    found = scored(capsys, truth, tmp_path, "--image-set", test)
    assert (found["images"], found["map"]) == (72, 1)
    found = scored(capsys, truth, tmp_path, "--exclusive")
    assert found["map"] < 1  # a point without an inside is met by nothing
    assert found["notes"][0].endswith("a box without area, 0 x 0: nothing meets it")


# ---------------------------------------------------------------------------------- one data set in every form
NAMES = ["cat", "dog", "traffic light"]
WIDTH, HEIGHT = 256, 128


def boxes() -> tuple[list[Any], list[Any]]:
    """True boxes (image, class, x1, y1, x2, y2) and detections (..., score), at even pixels so that all forms agree."""
    rng = np.random.default_rng(11)
    truth, found = [], []
    for image in range(12):
        for _ in range(int(rng.integers(0, 5))):
            x, y, w, h = (2 * int(v) for v in (*rng.integers(0, 30, 2), *rng.integers(2, 30, 2)))
            kind = int(rng.integers(3))
            truth.append((image, kind, x, y, x + w, y + h))
            for _ in range(int(rng.integers(0, 4))):
                step = 2 * int(rng.integers(-2, 3))
                found.append((image, kind, max(x + step, 0), y, x + w, y + h, int(rng.integers(1, 60)) / 64))
    return truth, found


def name(image: int) -> str:
    return f"photo.{image:02d}"  # with a dot, as exported names often have


def coco(folder: Path) -> tuple[Path, Path]:
    truth, found = boxes()
    gt = {
        "images": [{"id": i + 5, "file_name": f"{name(i)}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(12)],
        "categories": [{"id": 10 * k + 1, "name": word} for k, word in enumerate(NAMES)],
        "annotations": [
            {"id": n, "image_id": i + 5, "category_id": 10 * k + 1, "bbox": [x, y, x2 - x, y2 - y]}
            for n, (i, k, x, y, x2, y2) in enumerate(truth)
        ],
    }
    results = [
        {"image_id": i + 5, "category_id": 10 * k + 1, "bbox": [x, y, x2 - x, y2 - y], "score": s}
        for i, k, x, y, x2, y2, s in found
    ]
    paths = folder / "gt.json", folder / "dt.json"
    for path, content in zip(paths, (gt, results), strict=True):
        path.write_text(json.dumps(content))
    return paths


def folders(folder: Path, suffix: str) -> tuple[Path, Path]:
    paths = folder / "labels", folder / "found"
    for path in paths:
        path.mkdir()
        for i in range(12):
            (path / f"{name(i)}{suffix if path is paths[0] else '.txt'}").touch()
    return paths


def add(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def txt(folder: Path) -> tuple[Path, Path]:
    paths = folders(folder, ".txt")
    truth, found = boxes()
    for i, k, *box in truth:
        add(paths[0] / f"{name(i)}.txt", f"{NAMES[k]} {' '.join(map(str, box))}")
    for i, k, *box, s in found:
        add(paths[1] / f"{name(i)}.txt", f"{NAMES[k]} {s} {' '.join(map(str, box))}")
    return paths


def parts(box: list[int]) -> str:
    x1, y1, x2, y2 = box
    values = (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT
    return " ".join(map(repr, values))


def yolo(folder: Path) -> tuple[Path, Path]:
    """Images beside the labels; an image without objects has no file."""
    from PIL import Image

    paths = folders(folder, ".txt")
    truth, found = boxes()
    for i, k, *box in truth:
        add(paths[0] / f"{name(i)}.txt", f"{k} {parts(box)}")
    for i, k, *box, s in found:
        add(paths[1] / f"{name(i)}.txt", f"{k} {parts(box)} {s!r}")
    (folder / "images").mkdir()
    for i in range(12):
        turned = Image.Exif()
        turned[0x0112] = 6 if i == 3 else 1  # lies on its side in the file
        size = (HEIGHT, WIDTH) if i == 3 else (WIDTH, HEIGHT)
        Image.new("L", size).save(folder / "images" / f"{name(i)}.jpg", exif=turned)
        if not (paths[0] / f"{name(i)}.txt").read_text():
            (paths[0] / f"{name(i)}.txt").unlink()
    (paths[0] / "classes.txt").write_text("\n".join(NAMES))
    return paths


def voc(folder: Path) -> tuple[Path, Path]:
    """XML, and VOC's own results: a file for each class."""
    paths = folders(folder, ".xml")
    truth, found = boxes()
    for i in range(12):
        objects = "".join(
            f"<object><name>{NAMES[k]}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            "</bndbox></object>"
            for image, k, x, y, x2, y2 in truth
            if image == i
        )
        (paths[0] / f"{name(i)}.xml").write_text(f"<annotation>{objects}</annotation>")
        (paths[1] / f"{name(i)}.txt").unlink()
    for k, word in enumerate(NAMES):
        lines = [f"{name(i)} {s} {x} {y} {x2} {y2}" for i, kind, x, y, x2, y2, s in found if kind == k]
        (paths[1] / f"comp4_det_test_{word}.txt").write_text("\n".join(lines))
    return paths


def npz(folder: Path) -> tuple[Path, Path]:
    truth, found = (np.array(rows, float) for rows in boxes())
    paths = folder / "gt.npz", folder / "dt.npz"
    names = np.array([name(i) for i in range(12)])
    columns = {"boxes": truth[:, 2:6], "labels": truth[:, 1].astype(int), "image": truth[:, 0].astype(int)}
    np.savez(paths[0], **columns, image_names=names, classes=np.array(NAMES))
    mixed = np.random.default_rng(2).permutation(len(found))  # rows in any order; ties of an image stay in their order
    mixed = mixed[np.lexsort((np.arange(len(found))[mixed], -found[mixed, 6]))]
    columns = {"boxes": found[mixed, 2:6], "labels": found[mixed, 1].astype(int), "scores": found[mixed, 6]}
    np.savez(paths[1], **columns, image=names[found[mixed, 0].astype(int)])
    return paths


FORMS: dict[str, tuple[Callable[[Path], tuple[Path, Path]], list[str]]] = {
    "coco": (coco, []), "txt": (txt, []), "yolo": (yolo, []), "voc": (voc, ["--exclusive"]), "npz": (npz, []),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same(tmp_path: Path, capsys: Capture, form: str) -> None:
    (tmp_path / "coco").mkdir()
    want = scored(capsys, *coco(tmp_path / "coco"))
    assert 0.1 < want["map"] < 0.9
    make, options = FORMS[form]
    paths = make(tmp_path)
    found = scored(capsys, *paths, *options)
    assert found["formats"] == {"truth": form, "detections": form}
    assert found["notes"] == []
    for key in ("stats", "images", "true_boxes", "scored_detections"):
        assert found[key] == want[key], key
    without = [[{k: v for k, v in row.items() if k != "id"} for row in x["per_class"]] for x in (found, want)]
    assert without[0] == without[1]
    assert [row["name"] for row in found["per_class"]] == NAMES
    assert scored(capsys, *paths, *options, "--format", form)["stats"] == want["stats"]


def test_detections_of_another_form(tmp_path: Path, capsys: Capture) -> None:
    """COCO's truth with txt and YOLO's, with packed JSON, and with NPZ whose classes count from 0."""
    gt, dt = coco(tmp_path)
    want = scored(capsys, gt, dt)["stats"]
    (tmp_path / "txt").mkdir()
    assert scored(capsys, gt, txt(tmp_path / "txt")[1])["stats"] == want
    (tmp_path / "yolo").mkdir()
    found = scored(capsys, gt, yolo(tmp_path / "yolo")[1])  # the sizes are in the JSON
    assert (found["formats"]["detections"], found["stats"]) == ("yolo", want)
    (tmp_path / "dt.json.gz").write_bytes(gzip.compress(dt.read_bytes()))
    assert scored(capsys, gt, tmp_path / "dt.json.gz")["stats"] == want
    positions = npz(tmp_path)[1]
    assert scored(capsys, gt, positions, "--labels", "position")["stats"] == want
    out, err = shown(capsys, gt, positions)
    assert f"{positions}: " in err
    assert " detections of no class of " in err
    assert "if labels count the classes from 0: --labels position" in err
    assert out.splitlines()[1] != f"{want[0]:.3f}"
    assert "--labels does not go with detections that are txt" in fails(
        capsys, gt, tmp_path / "txt" / "found", "--labels", "id"
    )


def two_folders(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Truth with a box in each of two images that differ by their folder alone, and detections that are right."""
    images = [{"id": i, "file_name": f"vid{i}/0001.jpg"} for i in (1, 2)]
    found = [{"image_id": i, "category_id": 1, "bbox": [10 * i, 0, 8 * i, 8], "score": 0.5} for i in (1, 2)]
    truth = [{**box, "id": i} for i, box in enumerate(found)]
    path = folder / "gt.json"
    path.write_text(
        json.dumps({"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": truth}), "utf-8"
    )
    return path, found


def test_images_of_one_name_in_two_folders(tmp_path: Path, capsys: Capture) -> None:
    gt, found = two_folders(tmp_path)
    dt = tmp_path / "dt.json"

    def own(*names: str) -> Path:
        images = [{"id": 7 - i, "file_name": name} for i, name in enumerate(names, 1)]
        rows = [{**box, "image_id": 7 - box["image_id"]} for box in found]
        dt.write_text(json.dumps({"images": images, "annotations": rows}))
        return dt

    assert scored(capsys, gt, own("vid1/0001.jpg", "vid2/0001.jpg"))["map"] == 1
    assert scored(capsys, gt, own("vid1/0001.png", "vid2/0001"))["map"] == 1
    both = "'vid1/0001.jpg' (id 1) and 'vid2/0001.jpg' (id 2)"
    assert fails(capsys, gt, own("a/0001.jpg", "vid2/0001.jpg")) == (
        f"{dt}: images: expected the name of one image of the data set, got 'a/0001.jpg' for {both}"
    )
    boxes = np.array([[10.0, 0, 18, 8], [20, 0, 36, 8]])
    columns = {"boxes": boxes, "scores": np.array([0.5, 0.5]), "labels": np.array([1, 1])}
    np.savez(tmp_path / "dt.npz", **columns, image_ids=np.array(["vid1/0001.jpg", "vid2/0001.jpg"]))
    assert scored(capsys, gt, tmp_path / "dt.npz")["map"] == 1
    np.savez(tmp_path / "dt.npz", **columns, image_ids=np.array(["0001", "vid2/0001.jpg"]))
    assert both in fails(capsys, gt, tmp_path / "dt.npz")
    dt.write_text(json.dumps(found))
    chosen = tmp_path / "set.txt"
    chosen.write_text("vid1/0001.jpg\n")
    assert scored(capsys, gt, dt, "--image-set", chosen)["true_boxes"] == 1
    tiny = scored(capsys, gt, dt, "--image-set", chosen, "--areas", "all,tiny=0:100")["map_tiny"]
    assert tiny == pytest.approx(1, abs=1e-12)  # vid1's box, and -1 without it
    chosen.write_text("0001 1\n")
    assert both in fails(capsys, gt, dt, "--image-set", chosen)


def test_positions_outside_are_no_class(tmp_path: Path, capsys: Capture) -> None:
    """Labels that are no position stay unscored, and are told as the file has them."""
    gt, _ = coco(tmp_path)  # categories 1, 11, 21
    wrong = [{**RESULT, "category_id": k} for k in (-1, 3, -(2**40), -21, -1)]
    dt = tmp_path / "wrong.json"
    for more in ([], [{**RESULT, "category_id": 2}]):
        dt.write_text(json.dumps([*wrong, *more]))
        found = scored(capsys, gt, dt, "--labels", "position")
        assert found["scored_detections"] == len(more)
        assert found["notes"] == [f"{dt}: 5 detections of no class of {gt} are not scored: {-(2**40)}, -21, -1, 3"]


def test_classes_of_their_own_by_position_and_by_name(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    want = scored(capsys, gt, dt)["stats"]
    rows = [{**row, "category_id": row["category_id"] // 10} for row in json.loads(dt.read_text())]
    kinds = [{"id": k, "name": word} for k, word in enumerate(NAMES)] + [{"id": 15, "name": "fox"}]
    dt.write_text(json.dumps({"annotations": [*rows, {**RESULT, "category_id": 15}], "categories": kinds}))
    for options in ((), ("--labels", "position")):
        found = scored(capsys, gt, dt, *options)
        assert found["stats"] == want
        assert found["notes"] == [f"{dt}: 1 detections of no class of {gt} are not scored: 15"]
    dt.write_text(json.dumps({"annotations": rows, "categories": [*kinds, {"id": 16, "name": "fox"}]}))
    assert fails(capsys, gt, dt).endswith("a name each, by which they are matched, got 'fox' for 15 and 16")
    images = [{"id": i + 6, "file_name": f"{name(i)}.jpg"} for i in range(12)]  # by name, though classes have numbers
    rows = [{**row, "image_id": row["image_id"] + 1, "category_id": 10 * row["category_id"] + 1} for row in rows]
    kinds = [{"id": 10 * k + 1, "name": k} for k in range(3)]
    dt.write_text(json.dumps({"annotations": rows, "categories": kinds, "images": images}))
    assert scored(capsys, gt, dt)["stats"] == want


def test_yolo_needs_sizes(tmp_path: Path, capsys: Capture) -> None:
    labels, found = yolo(tmp_path)
    want = scored(capsys, labels, found)["stats"]
    (tmp_path / "images").rename(tmp_path / "pictures")
    assert "give --images DIR or --image-size WIDTHxHEIGHT" in fails(capsys, labels, found)
    assert scored(capsys, labels, found, "--images", tmp_path / "pictures")["stats"] == want
    for i in range(12):
        (labels / f"{name(i)}.txt").touch()
    assert scored(capsys, labels, found, "--image-size", f"{WIDTH}x{HEIGHT}")["stats"] == want
    wide = scored(capsys, labels, found, "--image-size", f"{8 * WIDTH}x{8 * HEIGHT}")
    assert wide["map"] == want[0]
    assert wide["map_large"] != want[5]
    broken = tmp_path / "pictures" / f"{name(2)}.jpg"
    broken.write_bytes(b"no picture")
    assert fails(capsys, labels, found, "--images", tmp_path / "pictures").startswith(
        f"{broken}: expected an image, got"
    )


def test_yolo_lines_that_are_wrong(tmp_path: Path, capsys: Capture) -> None:
    labels, found = yolo(tmp_path)
    for path, line, text in (
        (labels, "1" * 9 + " .5 .5 .5 .5", "class: expected an integer below 1,000,000, got 111111111"),
        (labels, "1 .5 .5 .5 .5 .9", "expected class cx cy w h, got 6 words"),
        (found, "1 .5 .5 .5 .5", "expected class cx cy w h score, got 5 words"),
    ):
        for child in path.iterdir():
            child.write_text(line if child.stem != "classes" else "\n".join(NAMES))
        first = path / f"{name(min(i for i in range(12) if (path / f'{name(i)}.txt').exists()))}.txt"
        assert fails(capsys, labels, found) == f"{first}: line 1: {text}"
        for child in labels.iterdir():
            child.write_text("" if child.stem != "classes" else "\n".join(NAMES))


def test_an_image_set(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    chosen = [1, 4, 6, 7]
    (tmp_path / "set.txt").write_text("".join(f"{name(i)} {(-1) ** i}\n" for i in chosen))
    found = scored(capsys, gt, dt, "--image-set", tmp_path / "set.txt")
    data = COCO(gt)
    one = COCOeval(data, data.loadRes(dt))
    one.params.imgIds = [i + 5 for i in chosen]
    one.evaluate()
    one.accumulate()
    one.summarize()
    assert found["images"] == 4
    assert found["stats"] == one.stats.tolist()
    capsys.readouterr()
    (tmp_path / "set.txt").write_text("\nelsewhere\n")
    assert "line 1: expected the name of an image, got 'elsewhere'" in fails(
        capsys, gt, dt, "--image-set", tmp_path / "set.txt"
    )


# ------------------------------------------------------------------------------------------------- options
def test_options_are_those_of_the_class(tmp_path: Path, capsys: Capture) -> None:
    truth, found = boxes()
    metrics = DetectionMetrics(
        iou_thresholds=[0.25, 0.5], max_detections=[2, None], rule="voc",
        areas={"all": (0, 1e10), "tiny": (0, 500), "rest": (500, np.inf)},
    )  # fmt: skip
    for i in range(12):
        mine, theirs = ([row for row in rows if row[0] == i] for rows in (found, truth))
        metrics.update(
            [{"boxes": np.array([r[2:6] for r in mine], float).reshape(-1, 4), "scores": np.array([r[6] for r in mine]),
              "labels": np.array([r[1] for r in mine], int)}],
            [{"boxes": np.array([r[2:6] for r in theirs], float).reshape(-1, 4),
              "labels": np.array([r[1] for r in theirs], int)}],
        )  # fmt: skip
    options = ("--iou", "0.25,0.5", "--max-dets", "2,all", "--rule", "voc", "--areas", "tiny=0:500,rest=500:")
    one = scored(capsys, *coco(tmp_path), *options)
    results = metrics.compute()
    assert all(one[key] == value for key, value in results.items() if isinstance(value, float))
    assert one["settings"] == {
        "method": "coco101", "rule": "voc", "inclusive": False, "iou": [0.25, 0.5], "max_dets": [2, None],
        "areas": {"all": [0, 1e10], "tiny": [0, 500], "rest": [500, None]},
    }  # fmt: skip
    words = [(line["kind"], line["iou"], line["area"], line["most"]) for line in one["summary"]]
    assert words == [
        ("AP", "0.25:0.50", "all", None), ("AP", "0.50", "all", None), ("AP", "0.25:0.50", "tiny", None),
        ("AP", "0.25:0.50", "rest", None), ("AR", "0.25:0.50", "all", 2), ("AR", "0.25:0.50", "all", None),
        ("AR", "0.25:0.50", "tiny", None), ("AR", "0.25:0.50", "rest", None),
    ]  # fmt: skip
    assert [row["ap25"] for row in one["per_class"]] == metrics.average_precision()[0, :, 0].tolist()


def test_thresholds_of_a_range_are_cocos() -> None:
    assert evaluate._thresholds("0.5:0.95:0.05") == tuple(np.linspace(0.5, 0.95, 10).tolist())
    assert evaluate._thresholds("0.3:0.3:0.1") == (0.3,)


def test_confusion(tmp_path: Path, capsys: Capture) -> None:
    found = scored(capsys, *coco(tmp_path), "--confusion-at", "0.6,0.2")["confusion"]
    assert found["classes"] == [*NAMES, "background"]
    assert (found["iou"], found["score"]) == (0.6, 0.2)
    matrix = np.array(found["matrix"])
    assert matrix[:3].sum() == len(boxes()[0])
    assert matrix[:, :3].sum() == sum(row[-1] >= 0.2 for row in boxes()[1])
    assert "confusion" not in scored(capsys, *coco(tmp_path))


def test_intervals(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_RESAMPLES", 40)
    files = coco(tmp_path)
    found = scored(capsys, *files, "--ci")
    assert found["ci"] == {"level": 0.95, "resamples": 40}
    assert [line["value"] for line in found["summary"]] == scored(capsys, *files)["stats"]
    for line in found["summary"]:
        low, high = line["ci"]
        assert low <= high
        assert line["value"] < 0 or low < high or line["value"] in (0, 1)
    out, _ = shown(capsys, *files, "--ci")
    low, high = found["summary"][0]["ci"]
    assert out.splitlines()[1].endswith(f"= {found['map']:.3f}  (95 %: {low:.3f} to {high:.3f})")
    assert scored(capsys, *files, "--ci")["summary"] == found["summary"]


def test_table_of_classes(tmp_path: Path, capsys: Capture) -> None:
    files = coco(tmp_path)
    lines = shown(capsys, *files, "--per-class")[0].splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("class "))
    assert re.split(r"  +", lines[head]) == [
        "class", "AP", "AP50", "AP75", "AR", "AP small", "AP medium", "AP large", "true boxes", "detections"
    ]  # fmt: skip
    found = scored(capsys, *files)["per_class"]
    assert [re.split(r"  +", line)[:2] for line in lines[head + 1 :]] == [[r["name"], f"{r['ap']:.4f}"] for r in found]
    assert "absent" in lines[head + 1]  # there is no large box
    assert np.mean([row["ap"] for row in found]) == pytest.approx(scored(capsys, *files)["map"], abs=1e-15)


def test_names_of_classes_that_are_no_line(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    data = json.loads(gt.read_text())
    for kind, word in zip(data["categories"], ("a\nb", "\x1b[31mred", "caf\xe9 \u2028"), strict=True):
        kind["name"] = word
    gt.write_text(json.dumps(data))
    lines = shown(capsys, gt, dt, "--per-class")[0].split("\n")
    assert [re.split(r"  +", line)[0] for line in lines[-4:-1]] == ["a\\nb", "\\x1b[31mred", "caf\xe9 \\u2028"]
    assert len({len(line) for line in lines[-5:-1]}) == 1
    assert scored(capsys, gt, dt)["per_class"][0]["name"] == "a\nb"


def test_nothing_to_find(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "gt.json").write_text('{"images": [{"id": 1}], "annotations": [], "categories": []}')
    (tmp_path / "dt.json").write_text("[]")
    found = scored(capsys, tmp_path / "gt.json", tmp_path / "dt.json", "--plots", tmp_path / "plots", "--ci")
    assert found["stats"] == [-1] * 12
    assert len(found["plots"]) == 5


# -------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("--format xml", "evaluate: --format must be one of auto, coco, voc, yolo, txt, npz, got xml"),
        ("--iou 1.5", "evaluate: --iou must be in (0, 1], got 1.5"),
        ("--iou 0.5:0.9", "evaluate: --iou must be numbers, or FIRST:LAST:STEP, got 0.5:0.9"),
        ("--iou 0.5:0.95:0.1", "evaluate: --iou must be numbers, or FIRST:LAST:STEP, got 0.5:0.95:0.1"),
        ("--iou 0.5:0.9:0", "evaluate: --iou must be numbers, or FIRST:LAST:STEP, got 0.5:0.9:0"),
        ("--iou half", "evaluate: --iou must be numbers, or FIRST:LAST:STEP, got half"),
        ("--max-dets 10,1", "evaluate: --max-dets must rise from 1 or more, got 10,1"),
        ("--max-dets all,1", "evaluate: --max-dets must rise from 1 or more, got all,1"),
        ("--max-dets many", "evaluate: --max-dets must be integers, or all, got many"),
        ("--areas huge", "evaluate: --areas must be of all, small, medium, large, or NAME=LEAST:GREATEST, got huge"),
        ("--areas a=5", "evaluate: --areas must be of all, small, medium, large, or NAME=LEAST:GREATEST, got a=5"),
        ("--areas a=5:1", "evaluate: --areas must have least <= greatest, got {'a': (5.0, 1.0)}"),
        ("--method voc", "evaluate: --method must be one of coco101, voc2007, area, got voc"),
        ("--rule none", "evaluate: --rule must be one of coco, voc, got none"),
        ("--boxes cxcywh", "evaluate: --boxes must be one of xyxy, xywh, got cxcywh"),
        ("--boxes xywh", "evaluate: --boxes does not go with a data set that is coco"),
        ("--labels name", "evaluate: --labels must be one of id, position, got name"),
        ("--image-size 640", "evaluate: --image-size must be WIDTHxHEIGHT in pixels, such as 640x480, got 640"),
        (f"--image-size {'9' * 5000}x9", "evaluate: --image-size must be WIDTHxHEIGHT in pixels, such as 640x480"),
        ("--images . --image-size 6x6", "evaluate: --images does not go with --image-size"),
        ("--confusion-at 0.5", "evaluate: --confusion-at must be IOU,SCORE, got 0.5"),
        ("--confusion-at 0,0.5", "evaluate: --confusion-at must be in (0, 1], got 0.0"),
        ("--classes nowhere", "evaluate: --classes must be a file of names, got nowhere, no such file"),
        ("--image-set nowhere.txt", "nowhere.txt: No such file or directory"),
        ("--plots no/where", "evaluate: --plots must be a folder, or a new one in an existing folder, got no/where"),
        ("--unknown", "No such option: --unknown"),
    ],
)  # fmt: skip
def test_wrong_options(tmp_path: Path, capsys: Capture, options: str, text: str) -> None:
    assert fails(capsys, *coco(tmp_path), *options.split()).startswith(text)


RESULT = {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([RESULT, {**RESULT, "image_id": 99}], "results[1].image_id: expected an image of the data set, got 99"),
        ([RESULT, {**RESULT, "bbox": [1, 2, -3, 4]}], "results[1].bbox: expected a width >= 0, got -3"),
        ([{k: v for k, v in RESULT.items() if k != "score"}], "results[0].score: expected a number, got no such field"),
        ({"images": []}, "expected a list of detections, got an object without annotations"),
        ('[{"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "score": NaN}]', "results[0].score"),
        ('[{"image_id": 5, "category_id": 1, "bbox": [1, 2, 3', "results[0].bbox"),
        ("{", ""),
        ("score: 3", "expected COCO JSON, NPZ or a folder, got other data"),
        (b"PK\x03\x04 and nothing more", "expected an NPZ file, got a damaged one"),
        (gzip.compress(b"[" + b" " * 500)[:-9], "damaged or truncated gzip: Compressed file ended"),
        (b"\x1f\x8b\x08\x00 no gzip", "damaged or truncated gzip"),
        (b"\x93NUMPY", "expected COCO JSON, NPZ or a folder, got other data"),
        (None, "expected a file or a folder, got nothing"),
    ],
)
@pytest.mark.parametrize("which", ["truth", "detections"])
def test_wrong_files(tmp_path: Path, capsys: Capture, which: str, content: object, text: str) -> None:
    gt, dt = coco(tmp_path)
    path = tmp_path / ("wrong.gz" if "gzip" in text else "wrong")
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    line = fails(capsys, *((path, dt) if which == "truth" else (gt, path)))
    assert line.startswith(f"{path}: ")
    if which == "detections":
        assert text in line


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"boxes": np.array([[5.0, 0, 1, 1]])},
            "row 0, boxes: expected x1 <= x2 and y1 <= y2, got [5.0, 0.0, 1.0, 1.0]",
        ),
        ({"boxes": np.array([[np.nan, 0, 1, 1]])}, "row 0, boxes: expected finite numbers, got nan"),
        ({"difficult": np.array([2])}, "difficult: expected 0 or 1, got other values"),
        ({"difficult": np.array([0, 1])}, "difficult: expected shape (1,), one per box, got (2,)"),
        ({"area": np.array([-4.0])}, "row 0, area: expected a number >= 0, got -4"),
        ({"classes": np.array(["a"])}, "row 0, labels: expected a class from 0 to 0, got 1"),
        ({"classes": np.array([7])}, "classes: expected strings, got int64"),
        ({"classes": np.array([{}])}, "classes: expected a plain array, got Object arrays"),
        ({"image_names": np.array(["x"])}, "images: expected a position from 0 to 0 in image_names, got 3"),
    ],
)
def test_wrong_npz(tmp_path: Path, capsys: Capture, change: dict[str, Any], text: str) -> None:
    columns = {"boxes": np.array([[0.0, 0, 4, 4]]), "labels": np.array([1]), "image": np.array([3])}
    np.savez(tmp_path / "gt.npz", **{**columns, **change})
    _, dt = coco(tmp_path)
    assert fails(capsys, tmp_path / "gt.npz", dt).startswith(f"{tmp_path / 'gt.npz'}: {text}")


def test_wrong_npz_results(tmp_path: Path, capsys: Capture) -> None:
    gt, _ = coco(tmp_path)
    columns = {"boxes": np.array([[0.0, 0, 4, 4]]), "labels": np.array([1]), "image": np.array([99])}
    np.savez(tmp_path / "dt.npz", **columns)
    assert "expected an array named scores or score, got boxes, labels, image" in fails(capsys, gt, tmp_path / "dt.npz")
    np.savez(tmp_path / "dt.npz", **columns, scores=np.array([0.5]))
    assert "images: expected images of the data set, got 99" in fails(capsys, gt, tmp_path / "dt.npz")


def test_npz_ids_beyond_int64(tmp_path: Path, capsys: Capture) -> None:
    gt, _ = coco(tmp_path)
    columns = {"boxes": np.array([[0.0, 0, 4, 4]]), "labels": np.array([1]), "image": np.array([5])}
    for name in ("image", "labels"):
        np.savez(tmp_path / "dt.npz", **{**columns, name: np.array([2**63], np.uint64)}, scores=np.array([0.5]))
        text = f"{tmp_path / 'dt.npz'}: {name}: expected integers below 2^63, got {2**63}"
        assert fails(capsys, gt, tmp_path / "dt.npz") == text
        assert fails(capsys, tmp_path / "dt.npz", tmp_path / "dt.npz") == text


def test_wrong_folders(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert fails(capsys, empty, dt) == f"{empty}: expected a folder of .xml or .txt files, got none"
    assert fails(capsys, gt, empty) == f"{empty}: expected a folder of .txt files, got none"
    (empty / "a.txt").touch()
    assert "say --format yolo or txt" in fails(capsys, empty, dt)
    (tmp_path / "txt").mkdir()
    truth, found = txt(tmp_path / "txt")
    assert fails(capsys, truth, found, "--format", "voc").startswith(f"{truth}: expected")
    assert fails(capsys, truth, found, "--format", "coco") == (
        f"{truth}: expected coco, as --format says, got a folder of txt"
    )
    add(found / f"{name(3)}.txt", "dog 0.5 1 2 wide 4")
    line = len((found / f"{name(3)}.txt").read_text().splitlines())
    assert fails(capsys, truth, found) == (f"{found / name(3)}.txt: line {line}: x2: expected a number, got 'wide'")
    (found / f"{name(3)}.txt").rename(found / "other.txt")
    assert "expected the name of an image of the data set, got 'other'" in fails(capsys, truth, found)


def test_wrong_voc_results(tmp_path: Path, capsys: Capture) -> None:
    truth, found = voc(tmp_path)
    path = found / "comp4_det_test_dog.txt"
    for line, text in (
        ("photo.00 0.5 1 2 3", "expected image score x1 y1 x2 y2, got 5 words"),
        ("photo 0.5 1 2 3 4", "image: expected one of the data set, got 'photo'"),
        ("photo.00 0.5 1 2 0 4", "expected a width >= 0, got -1"),
        ("photo.00 inf 1 2 3 4", "score: expected a number, got 'inf'"),
    ):
        path.write_text(line)
        assert fails(capsys, truth, found) == f"{path}: line 1: {text}"
    path.rename(found / "comp4_det_test_fox.txt")
    assert "expected a name that ends in a class of the data set, got 'comp4_det_test_fox'" in fails(
        capsys, truth, found
    )


def test_boxes_too_large_to_score(tmp_path: Path, capsys: Capture) -> None:
    gt, _ = coco(tmp_path)
    (tmp_path / "dt.json").write_text(json.dumps([{**RESULT, "bbox": [0, 0, 1e200, 1e200]}]))
    assert "detections.areas must be finite" in fails(capsys, gt, tmp_path / "dt.json")


# ------------------------------------------------------------------------------------------------- pictures
FILES = ["ap_by_class.png", "ap_by_size.png", "confusion.png", "precision_recall.png", "report.html"]


def test_plots_and_report(tmp_path: Path, capsys: Capture) -> None:
    need("matplotlib")
    gt, dt = coco(tmp_path)
    text = gt.read_text().replace('"cat"', '"<b>cat & $x$</b> \\u732b"')
    gt.write_text(text)
    out, err = shown(capsys, gt, dt, "--plots", tmp_path / "plots")
    assert err == ""
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == FILES
    assert out.splitlines()[-1] == f"written: {tmp_path / 'plots' / 'report.html'}"
    for path in (tmp_path / "plots").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 5_000
    page = (tmp_path / "plots" / "report.html").read_text("utf-8")
    bare = re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,", page)
    assert not re.search(r"https?:|//[a-z]|src='(?!data:)|url\(|@import|<link", bare)  # it needs nothing else
    assert page.count("src='data:image/png;base64,") == 4
    assert page.count("<svg") == 3
    assert "<b>cat" not in page
    assert "&lt;b&gt;cat &amp; $x$&lt;/b&gt; \u732b" in page
    assert "{" not in re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)  # every field is filled in
    for line in out.splitlines()[1:13]:
        assert line in page
    again = scored(capsys, gt, dt, "--plots", tmp_path / "plots")
    assert [Path(path).name for path in again["plots"]] == [
        "precision_recall.png", "ap_by_size.png", "ap_by_class.png", "confusion.png", "report.html"
    ]  # fmt: skip
    assert (tmp_path / "plots" / "report.html").read_text("utf-8") == page


def test_one_size_has_no_picture_of_sizes(tmp_path: Path, capsys: Capture) -> None:
    need("matplotlib")
    files = coco(tmp_path)
    found = scored(capsys, *files, "--plots", tmp_path / "plots", "--method", "voc2007")
    assert "ap_by_size.png" not in [Path(path).name for path in found["plots"]]
    assert "Mean AP            (11 points)" in (tmp_path / "plots" / "report.html").read_text("utf-8")


def test_files_whole_or_not_at_all(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    need("matplotlib")
    files, folder = coco(tmp_path), tmp_path / "plots"

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr(report, "report", full)
    assert fails(capsys, *files, "--plots", folder) == "report.html: No space left on device"
    assert not folder.exists()  # nothing is written before all is drawn
    monkeypatch.undo()

    shown(capsys, *files, "--plots", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(records.os, "fsync", full)
    assert fails(capsys, *files, "--plots", folder, "--iou", "0.5") == "report.html: No space left on device"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_matplotlib(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError('plots need matplotlib: pip install "fastdet[cli]"')

    monkeypatch.setattr(report, "new_axes", missing)
    assert "plots need matplotlib" in fails(capsys, *coco(tmp_path), "--plots", tmp_path / "plots")
    assert not (tmp_path / "plots").exists()
