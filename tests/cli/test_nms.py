"""The command `fastdet nms`: what it prints, what it writes, its exit codes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import USABLE, detections, fails
from optional import real_data

import fastdet
from fastdet import nms
from fastdet.cli import nms as command
from fastdet.cli.app import main


def expected(
    records: list[dict[str, object]],
    method: str = "hard",
    agnostic: bool = False,
    max_output: int | None = None,
    **options: object,
) -> list[dict[str, object]]:
    """The plain way: image after image, one call each."""
    result = []
    for image in dict.fromkeys(r["image_id"] for r in records):
        mine = [r for r in records if r["image_id"] == image]
        boxes = np.array([r["bbox"] for r in mine], float)
        boxes[:, 2:] += boxes[:, :2]
        scores = np.array([r["score"] for r in mine])
        keys = np.array([0 if agnostic else r["category_id"] for r in mine])
        if method == "hard":
            keep = nms.batched_nms(boxes, scores, keys, backend="reference", **options)[:max_output]
            result += [mine[i] for i in keep]
        else:
            keep, new = nms.batched_soft_nms(boxes, scores, keys, method=method, backend="reference", **options)
            result += [{**mine[i], "score": s} for i, s in zip(keep[:max_output], new.tolist(), strict=False)]
    return result


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("", {"iou_threshold": 0.5}),
        ("--iou 0.3 --score-threshold 0.2", {"iou_threshold": 0.3, "score_threshold": 0.2}),
        ("--metric ios --max-output 5", {"iou_threshold": 0.5, "metric": "ios", "max_output": 5}),
        ("--agnostic", {"iou_threshold": 0.5, "agnostic": True}),
        ("--method linear", {"method": "linear"}),
        (
            "--method linear --iou 0.2 --min-score 0.1 --max-output 7 --agnostic",
            {"method": "linear", "iou_threshold": 0.2, "min_score": 0.1, "max_output": 7, "agnostic": True},
        ),
        ("--method gaussian --sigma 0.3 --offset 1", {"method": "gaussian", "sigma": 0.3, "offset": 1.0}),
    ],
)
def test_every_option(raw: Path, tmp_path: Path, backend: str, flags: str, options: dict[str, object]) -> None:
    output = tmp_path / "out.json"
    assert main(["nms", str(raw), "-o", str(output), "--backend", backend, *flags.split()]) == 0
    assert json.loads(output.read_text()) == expected(detections(), **options)  # type: ignore[arg-type]


def test_soft_score_threshold_drops_first(raw: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    assert main(["nms", str(raw), "-o", str(output), "--method", "linear", "--score-threshold", "0.5"]) == 0
    left = [r for r in detections() if r["score"] > 0.5]  # type: ignore[operator]
    images = dict.fromkeys(r["image_id"] for r in detections())
    want = {i: [r for r in expected(left, "linear") if r["image_id"] == i] for i in images}
    assert json.loads(output.read_text()) == [r for i in images for r in want[i]]


def test_blocks_do_not_matter(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = set()
    for block in (1, 45, 100, 1 << 16):
        monkeypatch.setattr(command, "BLOCK", block)
        assert main(["nms", str(raw), "-o", str(tmp_path / "out.json")]) == 0
        texts.add((tmp_path / "out.json").read_text())
    assert len(texts) == 1


def test_deep_records_are_one_line(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.dumps(detections(1, 1)[0])[:-1] + ', "x": ' + '{"a": ' * 5000 + "1" + "}" * 5000 + "}"
    raw.write_text(f"[{record}]")
    for flags in ("", "--method linear"):
        text = fails(capsys, "nms", raw, "-o", raw.with_name("out.json"), *flags.split())
        assert text == f"{raw}: results[0].x: nested deeper than 500"


def test_summary_object(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.npz"
    assert main(["nms", str(raw), "-o", str(output), "--json", "--method", "gaussian", "--backend", "reference"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    summary = json.loads(out)
    assert summary.pop("seconds") > 0
    assert summary == {
        "input": str(raw),
        "output": str(output),
        "images": 6,
        "candidates": 240,
        "kept": len(np.load(output)["scores"]),
        "backend": "reference",
        "options": {
            "method": "gaussian",
            "sigma": 0.5,
            "min_score": 0.001,
            "offset": 0.0,
            "score_threshold": None,
            "max_output": None,
            "agnostic": False,
            "threads": fastdet.get_num_threads(),
        },
        "ignored": [],
        "skipped": {"count": 0, "records": []},
    }


def test_summary_for_people(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nms", str(raw), "-o", str(tmp_path / "out.json")]) == 0
    out, err = capsys.readouterr()
    assert re.match(r"240 candidates in 6 images: \d+ kept \(hard, \w+, [\d.]+ s\)\nwritten to .*out\.json\n$", out)
    assert err == ""


def test_output_may_be_the_input(raw: Path) -> None:
    assert main(["nms", str(raw), "-o", str(raw)]) == 0
    assert json.loads(raw.read_text()) == expected(detections(), iou_threshold=0.5)


def test_offsets_and_images_without_boxes(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 10], [50, 50, 60, 60]], np.float32)
    arrays = {
        "image_id": [8, 3, 5],
        "offsets": [0, 0, 3, 3],
        "boxes_xyxy": boxes,
        "scores": np.array([0.5, 0.75, 0.25]),
    }
    np.savez(tmp_path / "in.npz", **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    assert main(["nms", str(tmp_path / "in.npz"), "-o", str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz") as out:
        assert out["image_id"].tolist() == [8, 3, 5]
        assert out["offsets"].tolist() == [0, 0, 2, 2]
        assert np.array_equal(out["boxes_xyxy"], boxes[1:])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--iou 1.5", "nms: --iou must be in [0, 1], got 1.5"),
        ("--iou nan", "nms: --iou must be a finite number, got nan"),
        ("--iou x", "Invalid value for '--iou': "),
        ("--max-output -1", "nms: --max-output must be 0 or more, got -1"),
        ("--metric giou", "nms: --metric must be one of 'iou', 'ios', got 'giou'"),
        ("--method softer", "nms: --method must be one of 'hard', 'linear', 'gaussian', got 'softer'"),
        ("--method gaussian --sigma 0", "nms: --sigma must be above 0, got 0.0"),
        ("--method linear --score-threshold nan", "nms: --score-threshold must be a finite number, got nan"),
        ("--method gaussian --iou 0.5", "nms: --iou does not go with --method gaussian"),
        ("--sigma 0.5", "nms: --sigma does not go with --method hard"),
        ("--method linear --metric ios", "nms: --metric does not go with --method linear"),
        ("--backend cuda", "nms: --backend must be one of 'cpp', 'numba', 'reference', got 'cuda'"),
        ("--threads 0", "nms: --threads must be in [1, 1024], got 0"),
        ("--no-such-option", "No such option: --no-such-option"),
    ],
)
def test_wrong_options(raw: Path, capsys: pytest.CaptureFixture[str], flags: str, message: str) -> None:
    output = raw.with_name("out.json")
    assert fails(capsys, "nms", raw, "-o", output, *flags.split()).startswith(message)
    assert not output.exists()


def test_wrong_files(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.json"
    assert fails(capsys, "nms", tmp_path / "no.json", "-o", output) == f"no such file: {tmp_path / 'no.json'}"
    assert fails(capsys, "nms", raw, "-o", tmp_path / "out.txt").startswith(
        "nms: output must end in .json or .npz, got "
    )
    assert fails(capsys, "nms", raw, "-o", tmp_path / "no" / "out.json").startswith("nms: output must be a file in an")
    assert "Missing option '--output'" in fails(capsys, "nms", raw)
    assert fails(capsys, "nms") == "Missing argument 'INPUT'."
    assert fails(capsys, "fly") == "No such command 'fly'."
    raw.write_text('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": NaN}]')
    assert fails(capsys, "nms", raw, "-o", output) == f"{raw}: results[0].score: expected a number, got NaN"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw.json"]


def test_full_disk_leaves_the_old_output(
    raw: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = raw.with_name("out.json")
    output.write_text("old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device", str(output))

    monkeypatch.setattr(os, "fsync", full)
    assert fails(capsys, "nms", raw, "-o", output) == f"{output}: No space left on device"
    assert output.read_text() == "old"
    assert sorted(p.name for p in raw.parent.iterdir()) == ["out.json", "raw.json"]


def test_real_candidates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """94,162 raw candidates of a detector on 209 images; the same through JSON; class by class as the plain way."""
    source = real_data("raw_coco_train209", "raw_yolox_nano.npz")
    assert main(["nms", str(source), "-o", str(tmp_path / "a.npz"), "--iou", "0.65", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["images"], summary["candidates"]) == (209, 94_162)
    with np.load(source) as raw, np.load(tmp_path / "a.npz") as final:
        assert final["offsets"][-1] == summary["kept"] == len(final["scores"])
        for i in (0, 100, 208):
            rows = slice(*raw["offsets"][i : i + 2])
            boxes, scores, labels = raw["boxes_xyxy"][rows], raw["scores"][rows], raw["labels"][rows]
            keep = nms.batched_nms(boxes, scores, labels, 0.65, backend="reference")
            mine = slice(*final["offsets"][i : i + 2])
            assert np.array_equal(final["boxes_xyxy"][mine], boxes[keep])
            assert np.array_equal(final["scores"][mine], scores[keep])
            assert np.array_equal(final["labels"][mine], labels[keep])
    assert main(["nms", str(source), "-o", str(tmp_path / "b.json"), "--iou", "0.65"]) == 0
    assert len(json.loads((tmp_path / "b.json").read_text())) == summary["kept"]


def test_known_keep_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = real_data("mmcv_batched_nms", "mmcv_batched_nms.npz")
    assert main(["nms", str(source), "-o", str(tmp_path / "a.npz"), "--iou", "0.7"]) == 0
    assert capsys.readouterr().err == "fastdet: not copied: keep\n"
    with np.load(source) as raw, np.load(tmp_path / "a.npz") as final:
        assert np.array_equal(final["boxes"], raw["boxes"][raw["keep"]])
