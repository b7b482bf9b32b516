"""The command `fastdet evaluate`: one data set in every form."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_forms import (
    HEIGHT,
    NAMES,
    RESULT,
    WIDTH,
    Capture,
    add,
    boxes,
    coco,
    fails,
    folders,
    name,
    scored,
    shown,
    txt,
    voc,
)

from fastdet.coco import COCO, COCOeval


def parts(box: list[int]) -> str:
    x1, y1, x2, y2 = box
    values = (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT
    return " ".join(map(repr, values))


def yolo(folder: Path) -> tuple[Path, Path]:
    """Images beside the labels; an image without objects has no file."""
    from PIL import Image

    paths = folders(folder, ".txt")
    truth, detections = boxes()
    for i, k, *box in truth:
        add(paths[0] / f"{name(i)}.txt", f"{k} {parts(box)}")
    for i, k, *box, s in detections:
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


def npz(folder: Path) -> tuple[Path, Path]:
    truth, detections = (np.array(rows, float) for rows in boxes())
    paths = folder / "gt.npz", folder / "dt.npz"
    names = np.array([name(i) for i in range(12)])
    columns = {"boxes": truth[:, 2:6], "labels": truth[:, 1].astype(int), "image": truth[:, 0].astype(int)}
    np.savez(paths[0], **columns, image_names=names, classes=np.array(NAMES))
    # rows in any order; ties of an image stay in their order
    mixed = np.random.default_rng(2).permutation(len(detections))
    mixed = mixed[np.lexsort((np.arange(len(detections))[mixed], -detections[mixed, 6]))]
    columns = {
        "boxes": detections[mixed, 2:6],
        "labels": detections[mixed, 1].astype(int),
        "scores": detections[mixed, 6],
    }
    np.savez(paths[1], **columns, image=names[detections[mixed, 0].astype(int)])
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
    result = scored(capsys, *paths, *options)
    assert result["formats"] == {"truth": form, "detections": form}
    assert result["notes"] == []
    for key in ("stats", "images", "true_boxes", "scored_detections"):
        assert result[key] == want[key], key
    without = [[{k: v for k, v in row.items() if k != "id"} for row in x["per_class"]] for x in (result, want)]
    assert without[0] == without[1]
    assert [row["name"] for row in result["per_class"]] == NAMES
    assert scored(capsys, *paths, *options, "--format", form)["stats"] == want["stats"]


def test_detections_of_another_form(tmp_path: Path, capsys: Capture) -> None:
    """COCO's truth with txt and YOLO's, with packed JSON, and with NPZ whose classes count from 0."""
    gt, dt = coco(tmp_path)
    want = scored(capsys, gt, dt)["stats"]
    (tmp_path / "txt").mkdir()
    assert scored(capsys, gt, txt(tmp_path / "txt")[1])["stats"] == want
    (tmp_path / "yolo").mkdir()
    result = scored(capsys, gt, yolo(tmp_path / "yolo")[1])  # the sizes are in the JSON
    assert (result["formats"]["detections"], result["stats"]) == ("yolo", want)
    (tmp_path / "dt.json.gz").write_bytes(gzip.compress(dt.read_bytes()))
    assert scored(capsys, gt, tmp_path / "dt.json.gz")["stats"] == want
    positions = npz(tmp_path)[1]
    assert scored(capsys, gt, positions, "--labels", "position")["stats"] == want
    text = fails(capsys, gt, positions)
    assert text.startswith("evaluate: --labels must say what labels are: ")
    assert (
        "if labels 0 to 2 count the classes, use --labels position; if they are category ids, use --labels id" in text
    )
    assert shown(capsys, gt, positions, "--labels", "id")[0].splitlines()[1] != f"{want[0]:.3f}"
    assert "--labels goes with numbers, and detections in " in fails(
        capsys, gt, tmp_path / "txt" / "found", "--labels", "id"
    )


def two_folders(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Truth with a box in each of two images that differ by their folder alone, and detections that are right."""
    images = [{"id": i, "file_name": f"vid{i}/0001.jpg"} for i in (1, 2)]
    detections = [{"image_id": i, "category_id": 1, "bbox": [10 * i, 0, 8 * i, 8], "score": 0.5} for i in (1, 2)]
    truth = [{**box, "id": i} for i, box in enumerate(detections)]
    path = folder / "gt.json"
    path.write_text(
        json.dumps({"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": truth}), "utf-8"
    )
    return path, detections


def test_images_of_one_name_in_two_folders(tmp_path: Path, capsys: Capture) -> None:
    gt, detections = two_folders(tmp_path)
    dt = tmp_path / "dt.json"

    def own(*names: str) -> Path:
        images = [{"id": 7 - i, "file_name": name} for i, name in enumerate(names, 1)]
        rows = [{**box, "image_id": 7 - box["image_id"]} for box in detections]
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
    dt.write_text(json.dumps(detections))
    chosen = tmp_path / "set.txt"
    chosen.write_text("vid1/0001.jpg\n")
    assert scored(capsys, gt, dt, "--image-set", chosen)["true_boxes"] == 1
    tiny = scored(capsys, gt, dt, "--image-set", chosen, "--areas", "all,tiny=0:100")["map_tiny"]
    assert tiny == pytest.approx(1, abs=1e-12)  # vid1's box, and -1 without it
    chosen.write_text("0001 1\n")
    assert both in fails(capsys, gt, dt, "--image-set", chosen)


def test_positions_outside_are_no_class(tmp_path: Path, capsys: Capture) -> None:
    """Labels that are no position are not scored; the note shows them as the file has them."""
    gt, _ = coco(tmp_path)  # categories 1, 11, 21
    wrong = [{**RESULT, "category_id": k} for k in (-1, 3, -(2**40), -21, -1)]
    dt = tmp_path / "wrong.json"
    for more in ([{**RESULT, "category_id": 0}], [{**RESULT, "category_id": 2}]):
        dt.write_text(json.dumps([*wrong, *more]))
        result = scored(capsys, gt, dt, "--labels", "position")
        assert result["scored_detections"] == len(more)
        lacks = f"{dt}: not scored: 5 detections of classes that {gt} lacks: {-(2**40)}, -21, -1, 3"
        assert lacks in result["notes"]


def test_classes_of_their_own_by_position_and_by_name(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    want = scored(capsys, gt, dt)["stats"]
    rows = [{**row, "category_id": row["category_id"] // 10} for row in json.loads(dt.read_text())]
    kinds = [{"id": k, "name": word} for k, word in enumerate(NAMES)] + [{"id": 15, "name": "fox"}]
    dt.write_text(json.dumps({"annotations": [*rows, {**RESULT, "category_id": 15}], "categories": kinds}))
    for options in ((), ("--labels", "position")):
        result = scored(capsys, gt, dt, *options)
        assert result["stats"] == want
        lacks = "15" if options else "fox"
        assert result["notes"] == [f"{dt}: not scored: 1 detections of classes that {gt} lacks: {lacks}"]
    dt.write_text(json.dumps({"annotations": rows, "categories": [*kinds, {"id": 16, "name": "fox"}]}))
    assert fails(capsys, gt, dt).endswith("a name each, by which they are matched, got 'fox' for 15 and 16")
    images = [{"id": i + 6, "file_name": f"{name(i)}.jpg"} for i in range(12)]  # by name, though classes have numbers
    rows = [{**row, "image_id": row["image_id"] + 1, "category_id": 10 * row["category_id"] + 1} for row in rows]
    kinds = [{"id": 10 * k + 1, "name": k} for k in range(3)]
    dt.write_text(json.dumps({"annotations": rows, "categories": kinds, "images": images}))
    assert scored(capsys, gt, dt)["stats"] == want


def test_yolo_needs_sizes(tmp_path: Path, capsys: Capture) -> None:
    labels, detections = yolo(tmp_path)
    want = scored(capsys, labels, detections)["stats"]
    (tmp_path / "images").rename(tmp_path / "pictures")
    assert "give --images DIR or --image-size WIDTHxHEIGHT" in fails(capsys, labels, detections)
    assert scored(capsys, labels, detections, "--images", tmp_path / "pictures")["stats"] == want
    for i in range(12):
        (labels / f"{name(i)}.txt").touch()
    assert scored(capsys, labels, detections, "--image-size", f"{WIDTH}x{HEIGHT}")["stats"] == want
    wide = scored(capsys, labels, detections, "--image-size", f"{8 * WIDTH}x{8 * HEIGHT}")
    assert wide["map"] == want[0]
    assert wide["map_large"] != want[5]
    broken = tmp_path / "pictures" / f"{name(2)}.jpg"
    broken.write_bytes(b"no picture")
    assert fails(capsys, labels, detections, "--images", tmp_path / "pictures").startswith(
        f"{broken}: expected an image, got"
    )


def test_yolo_lines_that_are_wrong(tmp_path: Path, capsys: Capture) -> None:
    labels, detections = yolo(tmp_path)
    for path, line, text in (
        (labels, "1" * 9 + " .5 .5 .5 .5", "class: expected an integer below 1,000,000, got 111111111"),
        (labels, "1 .5 .5 .5 .5 .9", "expected class cx cy w h, got 6 words: true boxes have no score"),
        (
            detections,
            "1 .5 .5 .5 .5",
            "expected class cx cy w h score, got 5 words: the score is missing, save it too (save_conf)",
        ),
    ):
        for child in path.iterdir():
            child.write_text(line if child.stem != "classes" else "\n".join(NAMES))
        first = path / f"{name(min(i for i in range(12) if (path / f'{name(i)}.txt').exists()))}.txt"
        assert fails(capsys, labels, detections) == f"{first}: line 1: {text}"
        for child in labels.iterdir():
            child.write_text("" if child.stem != "classes" else "\n".join(NAMES))


def test_an_image_set(tmp_path: Path, capsys: Capture) -> None:
    gt, dt = coco(tmp_path)
    chosen = [1, 4, 6, 7]
    (tmp_path / "set.txt").write_text("".join(f"{name(i)} {(-1) ** i}\n" for i in chosen))
    result = scored(capsys, gt, dt, "--image-set", tmp_path / "set.txt")
    data = COCO(gt)
    one = COCOeval(data, data.loadRes(dt), "bbox")
    one.params.imgIds = [i + 5 for i in chosen]
    one.evaluate()
    one.accumulate()
    one.summarize()
    assert result["images"] == 4
    assert result["stats"] == one.stats.tolist()
    capsys.readouterr()
    (tmp_path / "set.txt").write_text("\nelsewhere\n")
    assert "line 2: expected the name of an image of the data set, got 'elsewhere'; it has 'photo.00.jpg', " in fails(
        capsys, gt, dt, "--image-set", tmp_path / "set.txt"
    )
