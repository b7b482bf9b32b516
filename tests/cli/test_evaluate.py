"""The command `fastdet evaluate`: published figures, options, tables and pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from evaluate_forms import NAMES, Capture, boxes, coco, fails, scored, shown
from optional import need, real_data

from fastdet._files import atomic
from fastdet.cli import evaluate, evaluate_options, report
from fastdet.coco import COCO, COCOeval
from fastdet.detection import DetectionMetrics

TWELVE = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
TWELVE += ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")


# ------------------------------------------------------------------------------- figures that were published
def test_coco_val2014_100(capsys: Capture) -> None:
    """The twelve numbers, and the text of cocoapi's own example, in pycocotools' words."""
    folder = real_data("coco_val2014_100")
    files = folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json"
    result = scored(capsys, *files)
    expected = json.loads((folder / "expected_stats.json").read_text())["bbox"]
    np.testing.assert_allclose(result["stats"], expected, rtol=0, atol=1e-12)
    assert result["stats"] == [result[key] for key in TWELVE]
    assert (result["images"], result["classes"], result["true_boxes"], result["scored_detections"]) == (
        100,
        70,
        830,
        734,
    )
    assert result["formats"] == {"truth": "coco", "detections": "coco"}
    lines = [line for line in shown(capsys, *files)[0].splitlines() if "@[" in line]
    bbox = (folder / "val2014_fake_eval_res.txt").read_text().split("type=bbox")[1].splitlines()[3:15]
    assert [line.split() for line in lines] == [line.split() for line in bbox]


def test_words_are_pycocotools(tmp_path: Path, capsys: Capture) -> None:
    folder = real_data("coco_val2014_100")
    files = folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json"
    lines = shown(capsys, *files)[0].splitlines()[1:]
    data = COCO(files[0])
    one = COCOeval(data, data.loadRes(files[1]), "bbox")
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
    for name, (ap, _, true_boxes, _) in rows.items():
        assert float(ap) == pytest.approx(expected[name][key], abs=0.5e-4 + 1e-6)
        assert int(true_boxes.replace(",", "")) == expected[name]["n_gt"]


@pytest.mark.parametrize(("method", "key"), [("voc2007", "11point"), ("area", "every_point")])
def test_padilla_toy(capsys: Capture, method: str, key: str) -> None:
    folder = real_data("padilla_toy")
    options = ("--boxes", "xywh", "--inclusive", "--iou", "0.1,0.3,0.5,0.75", "--method", method)
    result = scored(capsys, folder / "gts", folder / "dets", *options)
    expected = json.loads((folder / "expected.json").read_text())[key]
    assert [line["iou"] for line in result["summary"]] == ["0.10", "0.30", "0.50", "0.75", "0.10:0.75"]
    assert result["stats"][:4] == pytest.approx(list(expected.values()), abs=1e-9)
    assert result["stats"][4] == pytest.approx(np.mean(list(expected.values())), abs=1e-9)


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
    one = COCOeval(data, data.loadRes(results), "bbox")
    one.evaluate()
    one.accumulate()
    one.summarize()
    capsys.readouterr()
    result = scored(capsys, folder / "gt_coco.json", folder / "dets_coco.json")
    assert result["stats"] == one.stats.tolist()
    assert 0.3 < result["map"] < 0.4


def test_cartucho_map(capsys: Capture) -> None:
    folder = real_data("cartucho_map")
    out, err = shown(capsys, folder / "ground-truth", folder / "detection-results", "--inclusive", "--method", "area")
    assert out.startswith("85 images, 30 classes, 686 true boxes to find, 450 detections\n")
    lacks = f"not scored: 44 detections of classes that {folder / 'ground-truth'} lacks: "
    assert lacks in err


def test_boxes_without_area_are_noted(tmp_path: Path, capsys: Capture) -> None:
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
        "counts as 1 x 1 pixels"
        for number, i in (("00338", 12), ("00343", 3))
    ]
    test = real_data("bccd", "ImageSets", "Main", "test.txt")
    result = scored(capsys, truth, tmp_path, "--image-set", test)
    assert (result["images"], result["map"]) == (72, 1)
    result = scored(capsys, truth, tmp_path, "--exclusive")
    assert result["map"] < 1  # a point without an inside is met by nothing
    assert result["notes"][0].endswith("a box without area, 0 x 0: no detection can match it")


# ------------------------------------------------------------------------------------------------- options
def test_options_are_those_of_the_class(tmp_path: Path, capsys: Capture) -> None:
    truth, result = boxes()
    metrics = DetectionMetrics(
        iou_thresholds=[0.25, 0.5], max_detections=[2, None], rule="voc",
        areas={"all": (0, 1e10), "tiny": (0, 500), "rest": (500, np.inf)},
    )  # fmt: skip
    for i in range(12):
        mine, theirs = ([row for row in rows if row[0] == i] for rows in (result, truth))
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
    assert evaluate_options._thresholds("0.5:0.95:0.05") == tuple(np.linspace(0.5, 0.95, 10).tolist())
    assert evaluate_options._thresholds("0.3:0.3:0.1") == (0.3,)


def test_confusion(tmp_path: Path, capsys: Capture) -> None:
    result = scored(capsys, *coco(tmp_path), "--confusion-at", "0.6,0.2")["confusion"]
    assert result["classes"] == [*NAMES, "background"]
    assert (result["iou"], result["score"]) == (0.6, 0.2)
    matrix = np.array(result["matrix"])
    assert matrix[:3].sum() == len(boxes()[0])
    assert matrix[:, :3].sum() == sum(row[-1] >= 0.2 for row in boxes()[1])
    assert "confusion" not in scored(capsys, *coco(tmp_path))


def test_intervals(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "RESAMPLES", 40)
    files = coco(tmp_path)
    result = scored(capsys, *files, "--ci")
    assert result["ci"] == {"level": 0.95, "resamples": 40, "seed": 0}
    assert [line["value"] for line in result["summary"]] == scored(capsys, *files)["stats"]
    for line in result["summary"]:
        low, high = line["ci"]
        assert low <= high
        assert line["value"] < 0 or low < high or line["value"] in (0, 1)
    out, _ = shown(capsys, *files, "--ci")
    low, high = result["summary"][0]["ci"]
    assert out.splitlines()[1].endswith(f"= {result['map']:.3f}  (95 %: {low:.3f} to {high:.3f})")
    assert scored(capsys, *files, "--ci")["summary"] == result["summary"]


def test_table_of_classes(tmp_path: Path, capsys: Capture) -> None:
    files = coco(tmp_path)
    lines = shown(capsys, *files, "--per-class")[0].splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("class "))
    assert re.split(r"  +", lines[head]) == [
        "class", "AP", "AP50", "AP75", "AR", "AP small", "AP medium", "AP large", "true boxes", "detections"
    ]  # fmt: skip
    result = scored(capsys, *files)["per_class"]
    assert [re.split(r"  +", line)[:2] for line in lines[head + 1 :]] == [[r["name"], f"{r['ap']:.4f}"] for r in result]
    assert "absent" in lines[head + 1]  # there is no large box
    assert np.mean([row["ap"] for row in result]) == pytest.approx(scored(capsys, *files)["map"], abs=1e-15)


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
    result = scored(capsys, tmp_path / "gt.json", tmp_path / "dt.json", "--plots", tmp_path / "plots", "--ci")
    assert result["stats"] == [-1] * 12
    assert len(result["plots"]) == 5


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
    result = scored(capsys, *files, "--plots", tmp_path / "plots", "--method", "voc2007")
    assert "ap_by_size.png" not in [Path(path).name for path in result["plots"]]
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
    monkeypatch.setattr(atomic.os, "fsync", full)
    assert fails(capsys, *files, "--plots", folder, "--iou", "0.5") == "report.html: No space left on device"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_matplotlib(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError('plots need matplotlib: pip install "fastdet[cli]"')

    monkeypatch.setattr(report, "new_axes", missing)
    assert "plots need matplotlib" in fails(capsys, *coco(tmp_path), "--plots", tmp_path / "plots")
    assert not (tmp_path / "plots").exists()


def test_figures_at_a_score(tmp_path: Path, capsys: Capture) -> None:
    """Two cats found of three, one false; the best F1 leaves the false one out."""
    true = [{"id": i, "image_id": 1, "category_id": 1, "bbox": [20 * i, 0, 10, 10]} for i in range(3)]
    kinds = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    gt, dt = tmp_path / "gt.json", tmp_path / "dt.json"
    gt.write_text(json.dumps({"images": [{"id": 1}], "categories": kinds, "annotations": true}))
    boxes = [([0, 0, 10, 10], 0.9), ([20, 0, 10, 10], 0.8), ([70, 0, 10, 10], 0.6), ([40, 0, 10, 10], 0.3)]
    rows = [{"image_id": 1, "category_id": 1, "bbox": box, "score": score} for box, score in boxes]
    dt.write_text(json.dumps(rows))
    result = scored(capsys, gt, dt, "--at", "0.5")
    at, best = result["at_score"], result["best_f1"]
    assert (at["iou"], at["score"], at["true_positives"], at["false_positives"], at["false_negatives"]) == (
        0.5,
        0.5,
        2,
        1,
        1,
    )
    assert (at["precision"], at["recall"], at["f1"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (best["score"], best["f1"]) == pytest.approx((0.3, 6 / 7))
    assert [row["name"] for row in best["per_class"]] == ["cat", "dog"][: len(best["per_class"])]
    out, _ = shown(capsys, gt, dt, "--at", "0.5")
    assert "At score 0.5, IoU 0.5: precision 0.6667, recall 0.6667, F1 0.6667 (2 found, 1 false, 1 missed)" in out
    assert "Best F1 0.8571 at score 0.3000" in out
    assert scored(capsys, gt, dt, "--at", "0.5", "--iou", "0.75")["at_score"]["iou"] == 0.75
    assert fails(capsys, gt, dt, "--at", "50").startswith("evaluate: --at must be in [0, 1], as the scores are, got 50")
    assert fails(capsys, gt, dt, "--at", "nan").startswith("evaluate: --at must be a finite number, got nan")
