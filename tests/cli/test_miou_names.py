"""The command `fastdet miou`: folders in folders, and ends of names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import fails
from miou_files import png
from PIL import Image

from fastdet.cli.app import main


def write(root: Path, names: dict[str, int]) -> Path:
    for name, label in names.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(np.full((2, 3), label)))
    return root


CITIES = {"bonn/bonn_1": 0, "bonn/bonn_2": 1, "ulm/ulm_1": 2}


def cityscapes(root: Path) -> Path:
    """GT as the data set stores it: four files for each frame."""
    kinds = {"_gtFine_labelIds.png": 0, "_gtFine_instanceIds.png": 3, "_gtFine_color.png": 3}
    gt = write(root, {name + end: max(label, more) for name, label in CITIES.items() for end, more in kinds.items()})
    for name in CITIES:
        (gt / f"{name}_gtFine_polygons.json").write_text("{}")
    return gt


def test_folders_in_folders(
    tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    gt = write(tmp_path / "gt", {"a/1.png": 0, "b/1.png": 1, "b/c/2.png": 2})
    pred = write(tmp_path / "pred", {"a/1.png": 0, "b/1.png": 2, "b/c/2.png": 2})
    got = score(gt, pred, "--classes", 3, "--per-image")
    assert got["confusion_matrix"] == [[6, 0, 0], [0, 0, 6], [0, 0, 6]]
    assert [image["name"] for image in got["per_image"]["images"]] == ["a/1.png", "b/1.png", "b/c/2.png"]
    flat = write(tmp_path / "flat", {"1.png": 0, "2.png": 2})
    text = fails(capsys, "miou", gt, flat, "--classes", 3)  # two maps are called 1
    assert text == (
        f"miou: label maps without a partner: 2 of {gt} not in {flat}: a/1.png, b/1.png; 1 of {flat} not in {gt}: 1.png"
    )
    (gt / "b" / "1.png").unlink()
    assert score(gt, flat, "--classes", 3)["confusion_matrix"] == [[6, 0, 0], [0, 0, 0], [0, 0, 6]]
    other = write(tmp_path / "other", {"x/1.png": 0, "x/2.png": 2})
    text = fails(capsys, "miou", gt, other, "--classes", 3)
    assert "no label map has a partner of its name: 2 of" in text  # a/1 and x/1 are not one image
    (gt / "loop").symlink_to(gt)
    assert score(gt, flat, "--classes", 3)["images"] == 2


def test_ends_of_names(
    tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    gt = cityscapes(tmp_path / "gt")
    pred = write(tmp_path / "pred", {f"{name.split('/')[1]}_leftImg8bit.png": label for name, label in CITIES.items()})
    flags = "--gt-suffix", "_gtFine_labelIds", "--pred-suffix", "_leftImg8bit"
    got = score(gt, pred, "--classes", 3, *flags)
    assert (got["mean_iou"], got["images"]) == (1, 3)
    assert got["ignored"] == [f"{gt}: {name}_gtFine_polygons.json" for name in CITIES]
    whole = "--gt-suffix", "_gtFine_labelIds.png", "--pred-suffix", "_leftImg8bit.png"
    assert score(gt, pred, "--classes", 3, *whole)["confusion_matrix"] == got["confusion_matrix"]
    text = fails(capsys, "miou", gt, pred, "--classes", 3)
    assert text.endswith(
        "; without these ends of names they match: --gt-suffix _gtFine_labelIds --pred-suffix _leftImg8bit"
    )
    text = fails(capsys, "miou", gt, pred, "--classes", 3, "--gt-suffix", "_labels")
    assert text.startswith(
        f"{gt}: expected label maps whose names end in _labels, got none of them among: bonn/bonn_1_"
    )
    text = fails(capsys, "miou", gt, pred, "--classes", 3, "--gt-suffix", "")
    assert text == "miou: --gt-suffix must be the end of a name, got an empty text"
    masks = write(tmp_path / "masks", {"1_mask.png": 0, "2_mask.png": 1})
    images = write(tmp_path / "images", {"1.png": 0, "2.png": 1})
    assert fails(capsys, "miou", masks, images, "--classes", 2).endswith("they match: --gt-suffix _mask")
    assert score(masks, images, "--classes", 2, "--gt-suffix", "_mask")["mean_iou"] == 1


def test_ends_of_names_in_npz(
    tmp_path: Path, score: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    maps = np.arange(2, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 3), np.uint8)
    np.savez(tmp_path / "gt.npz", labels=maps, names=["a_gt.png", "b_gt.png"])
    pred = write(tmp_path / "pred", {"a.png": 0, "b.png": 1})
    assert score(tmp_path / "gt.npz", pred, "--classes", 2, "--gt-suffix", "_gt")["mean_iou"] == 1
    text = fails(capsys, "miou", tmp_path / "gt.npz", pred, "--classes", 2, "--gt-suffix", "_x")
    assert text == f"{tmp_path / 'gt.npz'}: names: expected names that end in _x, got a_gt.png"


@pytest.mark.parametrize("kind", ["from 1", "Cityscapes", "turned mask", "BGR"])
def test_sides_that_number_their_classes_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Most pixels of two classes or more are predicted as one other class each: a note says as which."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, (20, 30)).astype(np.uint8)
    guess = truth.copy()
    guess[:, :4] = 0
    options: tuple[object, ...] = ("--classes", 20)
    if kind == "from 1":
        truth, said = truth + 1, "1 as 0"
    elif kind == "Cityscapes":
        truth, said = np.array([7, 8, 11, 12], np.uint8)[truth], "7 as 0"
    elif kind == "turned mask":
        truth, guess, options, said = truth // 2, 1 - guess // 2, ("--classes", 2), "0 as 1"
    else:
        colours = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]], np.uint8)
        truth, guess, options, said = colours[truth], colours[guess][..., ::-1], ("--palette", "voc"), "1 as 4"
    for name, labels in (("gt", truth), ("pred", guess)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.ascontiguousarray(labels)).save(tmp_path / name / "a.png")
    notes = []
    for guess_folder in ("pred", "gt"):
        assert main(["miou", *map(str, (tmp_path / "gt", tmp_path / guess_folder, *options, "--json"))]) == 0
        out, err = capsys.readouterr()
        notes.append(json.loads(out)["notes"])
        assert err.count("\n") == len(notes[-1])
    assert notes[1] == []
    (note,) = notes[0]
    assert note.startswith("most pixels of some classes are predicted as others, ")
    assert said in note
    assert "See --gt-map and --pred-map" in note
