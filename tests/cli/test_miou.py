"""The command `fastdet miou`: figures, options, what is printed, and processes of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import COMMAND, fails, heeding_ctrl_c, peak
from miou_files import agree, figures, folder, png, scene
from optional import real_data
from PIL import Image

from fastdet.cli import miou
from fastdet.cli.app import main


@pytest.mark.parametrize(
    ("void", "key"), [("count", "A_all_pixels_first11"), ("miss", "B_ignore_void_gt"), ("drop", "C_11x11")]
)
def test_real_predictions(tmp_path: Path, score: Callable[..., dict[str, Any]], void: str, key: str) -> None:
    """ESPNet on CamVid's 101 validation images, in all three conventions; the same from PNG files."""
    camvid = real_data("camvid_val_espnet")
    expected = json.loads((camvid / "expected.json").read_text())
    files = camvid / "labels_360x480.npz", camvid / "pred_espnet.npz"
    flags = ["--classes", 11, "--ignore", 11, "--void", void]
    got = score(*files, *flags)
    assert got["ignored"] == [f"{files[1]}: confusion"]
    assert got["mean_iou"] == pytest.approx(expected[key]["miou"], abs=1e-15)
    assert [row["iou"] for row in got["per_class"]] == pytest.approx(expected[key]["iou"], abs=1e-15)
    whole = np.array(expected["confusion_gt_rows_pred_cols"])
    matrix = np.array(got["confusion_matrix"])
    assert (matrix == whole[: matrix.shape[0], : matrix.shape[1]]).all()
    if void == "miss":
        assert got["pixel_accuracy"] == pytest.approx(expected["global_accuracy_ignore_void"], abs=1e-15)
        assert got["mean_class_accuracy"] == pytest.approx(expected["class_avg_accuracy"], abs=1e-15)
        through_png(tmp_path, score, files, flags, got)


def through_png(tmp_path: Path, score: Callable[..., dict[str, Any]], files: Any, flags: Any, got: Any) -> None:
    for name, file, array in zip(("gt", "pred"), files, ("labels", "pred"), strict=True):
        with np.load(file) as data:
            maps = dict(zip(data["names"], data[array], strict=True))
        folder(tmp_path / name, {k.removesuffix(".png"): v for k, v in maps.items()})
    again = score(tmp_path / "gt", tmp_path / "pred", *flags)
    assert again["confusion_matrix"] == got["confusion_matrix"]
    assert again["mean_iou"] == got["mean_iou"]
    mixed = score(files[0], tmp_path / "pred", *flags)
    assert mixed["confusion_matrix"] == got["confusion_matrix"]


def test_json(pair: tuple[Path, Path], score: Callable[..., dict[str, Any]]) -> None:
    truth, guess = scene()
    got = score(*pair, "--classes", 5, "--ci", "--per-image")
    assert got.pop("seconds") > 0
    assert got.pop("backend") in ("cpp", "numba", "reference")
    want = figures(truth, guess, 5)
    agree(got, want)
    assert got["target"] == str(pair[0])
    assert got["prediction"] == str(pair[1])
    assert (got["classes"], got["ignore"], got["void"], got["plots"], got["ignored"]) == (5, None, None, [], [])
    assert (got["pixels"], got["void_pixels"], got["void_predictions"]) == (4 * 12 * 17, 0, 0)
    for name in ("pixel_accuracy", "mean_class_accuracy", "mean_dice", "frequency_weighted_iou"):
        assert got[name] == want[name]
    absent = got["per_class"][4]
    assert absent == {
        "class": 4,
        "name": "4",
        "iou": None,
        "accuracy": None,
        "dice": None,
        "target_pixels": 0,
        "predicted_pixels": 0,
        "intersection": 0,
        "ci": {"iou": [None, None], "accuracy": [None, None], "dice": [None, None]},
    }
    assert got["ci"]["level"] == 0.95
    assert got["ci"]["mean_iou"][0] <= got["mean_iou"] <= got["ci"]["mean_iou"][1]
    assert [image["mean_iou"] for image in got["per_image"]["images"]] == want["per_image"]["mean_iou"].tolist()
    assert got["per_image"]["mean"] == want["per_image"]["mean"]
    bare = score(*pair, "--classes", 5)
    assert "ci" not in bare
    assert "per_image" not in bare
    with_ci = score(*pair, "--classes", 5, "--ci")
    assert with_ci["ci"] == got["ci"]
    assert "per_image" not in with_ci


def test_summary_for_people(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    names.write_text("[sky]\nStraße\nroad way\ntree\nmoon\n\n", encoding="utf-8")
    assert main(["miou", *map(str, pair), "--classes", str(names)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.fullmatch(r"5 classes, 4 images, 816 pixels\nmIoU +0\.\d{4}\n(.* 0\.\d{4}\n){4}", out), out
    flags = ["--classes", str(names), "--ignore", "3", "--per-class", "--per-image", "--ci"]
    assert main(["miou", *map(str, pair), *flags]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^void is 3: \d+ true, \d+ predicted; miss: true ones are left out", out, re.M)
    assert re.search(r"^mIoU +0\.\d{4}  \(95 %: 0\.\d{4} to 0\.\d{4}\)$", out, re.M)
    assert re.search(r"^class +IoU +95 % interval +accuracy +Dice +true pixels +predicted +right$", out, re.M)
    assert re.search(r"^\[sky\] +0\.\d{4} +0\.\d{4} to 0\.\d{4} ", out, re.M)
    assert re.search(r"^moon +absent +absent to absent +absent +absent +0 +0 +0$", out, re.M)
    assert "their mean is not the mIoU above" in out
    assert re.search(r"^lowest\n(  0\.\d{4}  im\d\.png\n){4}", out, re.M)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "miou: --classes is required: the number of classes, or a file of their names"),
        ("--classes 0", "miou: --classes must be in [1, 65535], got 0"),
        ("--classes -2", "miou: --classes must be 0 or more, got -2"),
        ("--classes 70000", "miou: --classes must be in [1, 65535], got 70000"),
        ("--classes no.txt", "miou: --classes must be a number or a file of names, got no.txt, no such file"),
        ("--classes 4 --void drop", "miou: --void needs --ignore, the label of void pixels"),
        ("--classes 4 --ignore 9 --void skip", "miou: --void must be one of 'miss', 'drop', 'count', got 'skip'"),
        ("--classes ++4", "miou: --classes must be a number or a file of names, got ++4, no such file"),
        ("--classes \u00b2", "miou: --classes must be a number or a file of names, got \u00b2, no such file"),
        (f"--classes {'9' * 5000}", f"miou: --classes must be in [1, 65535], got {'9' * 18}..."),
        (f"--classes 4 --ignore {10**23}", f"miou: --ignore must fit in int64 or uint64, got {10**23}"),
        ("--classes 4 --ignore x", "Invalid value for '--ignore': "),
        ("--classes 12 --palette camvid", "miou: --classes 12 does not go with --palette camvid: 12 classes and 11"),
        ("--classes 4 --plots no/no", "miou: plots must be a folder, or a new one in an existing folder, got no/no"),
        ("--classes 4 --no-such", "No such option: --no-such"),
    ],
)
def test_wrong_options(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], flags: str, message: str) -> None:
    assert fails(capsys, "miou", *pair, *flags.split()).startswith(message)


def test_names_that_are_no_line(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    names.write_text("sky\x1b[31m\na\tb\ntree\nmoon\n")
    assert main(["miou", *map(str, pair), "--classes", str(names), "--per-class"]) == 0
    lines = capsys.readouterr().out.split("\n")[-6:-1]
    assert [line.split(" ")[0] for line in lines] == ["class", "sky\\x1b[31m", "a\\tb", "tree", "moon"]
    assert len({len(line) for line in lines}) == 1


def test_wrong_names(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.txt"
    for content, message in {
        b"a\n\nb": "line 2: expected the name of class 1, got an empty line",
        b"a\nb\na": "line 3: expected unique names, got 'a' as in line 1",
        b"\n": "expected one class name a line, got an empty file",
        b"\xff\xff": "expected one class name a line, got data that is not UTF-8 text: other bytes in line 1",
    }.items():
        names.write_bytes(content)
        assert fails(capsys, "miou", *pair, "--classes", names) == f"{names}: {message}"
    assert fails(capsys, "miou", pair[0]) == "Missing argument 'PREDICTION'."


def test_plots(
    pair: tuple[Path, Path],
    tmp_path: Path,
    score: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "new"
    got = score(*pair, "--classes", 5, "--plots", out, "--ci")
    assert got["plots"] == [str(out / "confusion.png"), str(out / "iou.png")]
    for path in got["plots"]:
        with Image.open(path) as image:
            assert min(image.size) > 300
            assert len(np.unique(np.asarray(image.convert("L")))) > 20
    assert main(["miou", *map(str, pair), "--classes", "5", "--plots", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"picture: {out / 'confusion.png'}\npicture: {out / 'iou.png'}\n")
    assert sorted(p.name for p in out.iterdir()) == ["confusion.png", "iou.png"]
    before = (out / "iou.png").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device", "x")))
    assert fails(capsys, "miou", *pair, "--classes", 5, "--plots", out) == "x: No space left on device"
    assert (out / "iou.png").read_bytes() == before
    assert len(list(out.iterdir())) == 2
    (tmp_path / "file").write_text("")
    assert "plots must be a folder" in fails(capsys, "miou", *pair, "--classes", 5, "--plots", tmp_path / "file")


def test_threads_do_not_matter(
    tmp_path: Path, score: Callable[..., dict[str, Any]], threads: Callable[[int], None]
) -> None:
    truth, guess = scene(30)
    gt, pred = folder(tmp_path / "gt", truth), folder(tmp_path / "pred", guess)
    results = []
    for n in (1, 2, 7):
        threads(n)
        results.append(score(gt, pred, "--classes", 4, "--per-image", "--ci"))
        results[-1].pop("seconds")
    assert results[0] == results[1] == results[2]
    agree(results[0], figures(truth, guess))


def test_memory_is_bounded(tmp_path: Path) -> None:
    """60 maps of a megapixel take no more than 8 do, but for some allowance."""
    labels = np.zeros((1024, 1024), np.uint8)
    labels[::3, 5:] = 2
    content = png(labels)
    for count in (8, 60):
        for name in ("gt", "pred"):
            path = tmp_path / f"{name}{count}"
            path.mkdir()
            for i in range(count):
                (path / f"{i:03}.png").write_bytes(content)
    few, many = (
        peak([*COMMAND, "miou", str(tmp_path / f"gt{n}"), str(tmp_path / f"pred{n}"), "--classes", "4"])
        for n in (8, 60)
    )
    assert many - few < 20 << 20


def test_swapped_arguments_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """GT comes first. Void in the prediction alone is a sign of the other order."""
    truth, guess = np.array([[[0, 1, 255, 1]]], np.uint8), np.array([[[0, 1, 0, 0]]], np.uint8)
    for name, maps in (("truth", truth), ("guess", guess)):
        np.save(tmp_path / f"{name}.npy", maps)
    options = ["--classes", "2", "--ignore", "255"]
    assert main(["miou", str(tmp_path / "truth.npy"), str(tmp_path / "guess.npy"), *options]) == 0
    assert capsys.readouterr().err == ""
    assert main(["miou", str(tmp_path / "guess.npy"), str(tmp_path / "truth.npy"), *options]) == 0
    want = "fastdet: the predictions hold void (255) and the true maps do not: are GT and PREDICTION swapped?\n"
    assert capsys.readouterr().err == want


def test_ctrl_c(pair: tuple[Path, Path]) -> None:
    code = (
        "import sys, time\nfrom fastdet import cli\nfrom fastdet._files import label_maps\n"
        "def slow(self, i, side=None):\n    sys.stdout.write('now\\n'); sys.stdout.flush(); time.sleep(60)\n"
        "label_maps.Folder.read = slow\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    began = time.monotonic()
    with heeding_ctrl_c([sys.executable, "-c", code, "miou", *map(str, pair), "--classes", "4"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "fastdet: interrupted, nothing written\n"
    assert time.monotonic() - began < 30


def test_help_comes_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    places = [re.search(rf"^\W*{word}  ", out, re.M).start() for word in ("nms", "miou", "demo", "bench", "info")]  # type: ignore[union-attr]
    assert places == sorted(places)
    assert main(["miou", "--help"]) == 0
    out = capsys.readouterr().out
    for word in (
        "--classes",
        "--ignore",
        "--void",
        "--palette",
        "--per-class",
        "--per-image",
        "--ci",
        "--plots",
        "--json",
    ):
        assert word in out
    assert miou.FIGURES["mean_iou"] == "mIoU"
