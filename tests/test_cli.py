"""The command: what it prints, what it writes, its exit codes; a Ctrl-C and a long file in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from optional import real_data

import fastdet
from fastdet import cli, nms, plots
from fastdet._core import backends
from fastdet.cli import sample as _sample
from fastdet.cli import scenes, showcase
from fastdet.cli.app import main
from fastdet.inference import Found

COMMAND = [sys.executable, "-m", "fastdet"]
USABLE = [name for name, reason in backends.available().items() if not reason]


def detections(images: int = 6, per_image: int = 40, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(0, 30, (images * per_image, 2)), rng.integers(5, 30, (images * per_image, 2))
    return [
        {"image_id": int(rng.integers(images)), "category_id": int(rng.integers(3)), "bbox": [*c, *s], "score": score}
        for c, s, score in zip(corner.tolist(), size.tolist(), rng.random(images * per_image).tolist(), strict=True)
    ]


def expected(
    records: list[dict[str, object]],
    method: str = "hard",
    agnostic: bool = False,
    most: int | None = None,
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
            keep = nms.batched_nms(boxes, scores, keys, backend="reference", **options)[:most]
            result += [mine[i] for i in keep]
        else:
            keep, new = nms.batched_soft_nms(boxes, scores, keys, method=method, backend="reference", **options)
            result += [{**mine[i], "score": s} for i, s in zip(keep[:most], new.tolist(), strict=False)]
    return result


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.json"
    path.write_text(json.dumps(detections()))
    return path


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of an error."""
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastdet: ")
    assert err.count("\n") == 1
    return err[len("fastdet: ") : -1]


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("", {"iou_threshold": 0.5}),
        ("--iou 0.3 --score-threshold 0.2", {"iou_threshold": 0.3, "score_threshold": 0.2}),
        ("--metric ios --max-output 5", {"iou_threshold": 0.5, "metric": "ios", "most": 5}),
        ("--agnostic", {"iou_threshold": 0.5, "agnostic": True}),
        ("--method linear", {"method": "linear"}),
        (
            "--method linear --iou 0.2 --min-score 0.1 --max-output 7 --agnostic",
            {"method": "linear", "iou_threshold": 0.2, "min_score": 0.1, "most": 7, "agnostic": True},
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
        monkeypatch.setattr(cli, "_BLOCK", block)
        assert main(["nms", str(raw), "-o", str(tmp_path / "out.json")]) == 0
        texts.add((tmp_path / "out.json").read_text())
    assert len(texts) == 1


def test_deep_records_are_one_line(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.dumps(detections(1, 1)[0])[:-1] + ', "x": ' + '{"a": ' * 5000 + "1" + "}" * 5000 + "}"
    raw.write_text(f"[{record}]")
    for flags in ("", "--method linear"):
        text = fails(capsys, "nms", raw, "-o", raw.with_name("out.json"), *flags.split())
        assert text == f"{raw}: record 0: expected a detection, got one nested too deeply"


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
    assert fails(capsys, "nms", tmp_path / "no.json", "-o", output).endswith("expected a file, got no such file")
    assert fails(capsys, "nms", raw, "-o", tmp_path / "out.txt").startswith(
        "nms: output must end in .json or .npz, got "
    )
    assert fails(capsys, "nms", raw, "-o", tmp_path / "no" / "out.json").startswith("nms: output must be a file in an")
    assert "Missing option '--output'" in fails(capsys, "nms", raw)
    assert fails(capsys, "nms") == "Missing argument 'INPUT'."
    assert fails(capsys, "fly") == "No such command 'fly'."
    raw.write_text('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": NaN}]')
    assert fails(capsys, "nms", raw, "-o", output) == f"{raw}: record 0, field score: expected a finite number, got nan"
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


def test_version_info_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastdet {fastdet.__version__}\n"
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(fastdet.config()))
    assert main(["info"]) == 0
    assert capsys.readouterr().out.startswith(f"fastdet {fastdet.__version__} (Python ")
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert all(word in out for word in ("nms", "miou", "evaluate", "demo", "bench", "info"))


def test_missing_extra_is_one_line() -> None:
    code = "import sys; sys.modules['typer'] = None; import fastdet.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'fastdet: the command needs typer: pip install "fastdet[cli]"\n'


def test_command_imports_no_pictures() -> None:
    code = "import sys, fastdet.cli, fastdet.plots; print(sorted({'torch', 'numba', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_sample() -> None:
    """The scenes are those of their seeds, the output is a network's: a box and four scores for each of 384 cells."""
    sample = _sample.load()
    assert sample.output.shape == (len(sample.scenes), 4 + len(scenes.NAMES), 384)
    assert sample.output.dtype == np.float32
    assert sample.output[:, 4:].min() >= 0
    assert sample.output[:, 4:].max() <= 1
    for scene, seed in zip(sample.scenes, sample.seeds, strict=True):
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(scene, scenes.make(seed), strict=True))
    assert np.array_equal(np.diff(sample.seeds), np.ones(len(sample.seeds) - 1))  # none left out
    assert _sample.PATH.stat().st_size < 70_000


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").endswith(f"picture: {tmp_path / 'fastdet_demo.png'}")
    cells = [re.findall(r"[a-zA-Z-]+(?: [a-zA-Z-]+)*|[\d.]+", line) for line in out.splitlines()]
    assert ["after decoding", "0.601", "0.719", "0.705"] in cells
    assert ["after NMS", "0.776", "0.967", "0.884"] in cells
    assert ["after Soft-NMS linear", "0.813", "0.999", "0.953"] in cells
    assert ["after Soft-NMS gaussian", "0.813", "0.999", "0.945"] in cells
    picture = (tmp_path / "fastdet_demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000
    assert [p.name for p in tmp_path.iterdir()] == ["fastdet_demo.png"]
    assert "matplotlib.pyplot" not in sys.modules


def test_demo_is_the_plain_way() -> None:
    """One scene, one class at a time, and the reference."""
    result = showcase.demo()
    raw, hard, linear, _ = result.steps
    sample = result.sample
    assert result.backends == USABLE
    assert raw.given == sample.output[:, 4].size
    assert len(raw.kept.boxes) == hard.given == (sample.output[:, 4:].max(1) > showcase.LEAST).sum()
    for i in range(len(sample.scenes)):
        given = showcase.of_scene(raw.kept, i)
        for label in range(len(scenes.NAMES)):
            boxes, scores = given.boxes[given.labels == label], given.scores[given.labels == label]
            keep = nms.nms(boxes, scores, 0.5, backend="reference")
            soft, rescored = nms.soft_nms(boxes, scores, min_score=showcase.LEAST, backend="reference")
            for step, chosen, values in ((hard, keep, scores[keep]), (linear, soft, rescored)):
                kept = showcase.of_scene(step.kept, i)
                mine = kept.labels == label
                assert np.array_equal(kept.boxes[mine], boxes[chosen])
                assert np.array_equal(kept.scores[mine], values)


def test_demo_missed() -> None:
    """A box finds one object, of its class, its best; below the IoU of `FOUND` nothing."""
    scene = scenes.Scene(
        np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32), np.array([0, 0, 1], np.int64)
    )
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [50, 50, 60, 55]], np.float32)
    found = Found(boxes, np.ones(3, np.float32), np.array([0, 0, 1]))
    assert showcase._missed(scene, found).tolist() == [1, 2]
    assert showcase._missed(scene, found._replace(labels=np.array([0, 1, 1]))).tolist() == [1]
    assert showcase._missed(scene, Found(boxes[:0], np.ones(0), np.zeros(0, np.int64))).tolist() == [0, 1, 2]


def test_scenes() -> None:
    """Objects are inside, from the back to the front; pictures are the same at any scale but for their sharpness."""
    height, width = scenes.SIZE
    for seed in range(20):
        scene = scenes.make(seed)
        x1, y1, x2, y2 = scene.boxes.T
        assert ((x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height) & (x1 < x2) & (y1 < y2)).all()
        assert (np.diff(y2) >= 0).all()
    image = scenes.draw(scene, 5)
    assert image.shape == (height, width, 3)
    assert np.array_equal(image, scenes.draw(scene, 5))
    large = scenes.draw(scene, 5, scale=4).astype(float).reshape(height, 4, width, 4, 3).mean((1, 3))
    assert np.abs(large - image).mean() < 2


def test_scenes_fill_their_boxes() -> None:
    """What is painted of an object reaches to the sides of its box, and not beyond."""
    for label, (w, h) in enumerate(scenes._SIDES):
        canvas = scenes._Canvas(4)
        paint = (scenes._person, scenes._car, scenes._bicycle, scenes._dog)[label]
        paint(canvas, 20, 30, w, h, np.random.default_rng(label))
        y, x = np.nonzero(canvas.pixels.any(2))
        painted = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) / 4
        assert np.abs(painted - [20, 30, 20 + w, 30 + h]).max() <= 0.05 * h, scenes.NAMES[label]


def test_demo_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(capsys, "demo", "-o", tmp_path / "x.txt").startswith("demo: output must end in .png")
    assert fails(capsys, "demo", "-o", tmp_path / "no" / "x.png").startswith(
        "demo: output must end in .png, in an existing"
    )


def test_bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [case for case in showcase._cases() if case[3]]  # the quick ones
    monkeypatch.setattr(showcase, "_cases", lambda: cases)
    assert main(["bench", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert {row["op"] for row in results} == {"nms", "batched_nms", "soft_nms", "box_iou"}
    assert all(set(row["milliseconds"]) == set(USABLE) and min(row["milliseconds"].values()) > 0 for row in results)
    assert main(["bench"]) == 0
    assert "soft_nms" in capsys.readouterr().out


def test_bench_refuses_to_time_a_wrong_backend() -> None:
    with pytest.raises(showcase.Different, match="odd: a and b disagree"):
        showcase._measure("odd", lambda name: np.array([name == "a"]), ["a", "b"], seconds=0)


def test_plots_draw_into_given_axes() -> None:
    figure, axes = plots.new_axes(2)
    back, ax = plots.draw_boxes([[0, 0, 4, 4], [1, 1, 6, 6]], np.array([0, 12]), [0.1, 0.9], names=["one"], ax=axes[1])
    assert back is figure
    assert ax is axes[1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one (1)"]
    figure, ax = plots.draw_boxes(np.zeros((0, 4)), image=np.zeros((5, 5, 3)))
    assert ax.figure is figure
    with pytest.raises(ValueError, match=r"draw_boxes: labels must have shape \(1,\), one per box, got \(2,\)"):
        plots.draw_boxes([[0, 0, 1, 1]], [1, 2])


def long_json(path: Path, n: int, per_image: int = 100) -> None:
    """n detections, 100 an image, boxes apart."""
    with path.open("w") as file:
        file.write("[")
        for a in range(0, n, per_image):
            image = ",\n".join(
                f'{{"image_id": {a // per_image}, "category_id": {i % 80}, "bbox": [{20 * i}.25, 30.5, 18.75, 40.125], '
                f'"score": {(a + i) % 997 / 997:.6f}}}'
                for i in range(per_image)
            )
            file.write(("" if a == 0 else ",\n") + image)
        file.write("]")


def peak(arguments: list[str]) -> int:
    """Peak memory of a command, bytes. It is a grandchild: the peak of a child's children is theirs alone."""
    code = (
        "import subprocess, resource, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


def test_memory_is_bounded(tmp_path: Path) -> None:
    """200,000 detections take at most 150 bytes each above a small run, and 16 MB for the pieces."""
    n = 200_000
    long_json(tmp_path / "small.json", 100)
    long_json(tmp_path / "long.json", n)
    flags = ["--score-threshold", "0.5", "--threads", "1"]
    base = peak([*COMMAND, "nms", str(tmp_path / "small.json"), "-o", str(tmp_path / "a.json"), *flags])
    most = peak([*COMMAND, "nms", str(tmp_path / "long.json"), "-o", str(tmp_path / "b.json"), *flags])
    assert len(json.loads((tmp_path / "b.json").read_text())) > n // 3
    assert most - base < n * 150 + (16 << 20)


def heeding_ctrl_c(command: list[str]) -> subprocess.Popen[str]:
    """The command, which takes SIGINT also where pytest itself is a shell's background job and ignores it."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("delay", [0.0, 0.4])
def test_ctrl_c(tmp_path: Path, delay: float) -> None:
    """Whatever it is at when Ctrl-C comes: exit code 130, one line, no output and no temporary file."""
    long_json(tmp_path / "long.json", 300_000)
    output = tmp_path / "out.json"
    command = [*COMMAND, "nms", str(tmp_path / "long.json"), "-o", str(output), "--backend", "reference"]
    with heeding_ctrl_c(command) as process:
        wait_for_open(process.pid, tmp_path / "long.json")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, err) == ("", "fastdet: interrupted, nothing written\n")
    assert [p.name for p in tmp_path.iterdir()] == ["long.json"]


@pytest.mark.parametrize("module", ["fastdet.nms", "typer", "fastdet.cli.showcase"])
@pytest.mark.parametrize("start", ["runpy.run_module('fastdet', run_name='__main__')", "import fastdet.cli"])
def test_ctrl_c_during_the_imports(module: str, start: str) -> None:
    code = (
        "import runpy, sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        f"sys.meta_path.insert(0, Interrupted())\n{start}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "fastdet: interrupted, nothing written\n")


def test_closed_stdout_is_exit_code_1() -> None:
    with subprocess.Popen([*COMMAND, "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 1


def test_ctrl_c_inside_a_kernel_and_a_write(tmp_path: Path) -> None:
    """In a call that does not look for signals, and in the middle of writing over an old output."""
    (tmp_path / "raw.json").write_text(json.dumps(detections()))
    (tmp_path / "out.json").write_text("old")
    for target in ("fastdet.cli.app.nms.batched_nms", "fastdet._files.records._copied"):
        code = (
            "import sys, time, fastdet.cli as cli, fastdet._files.records\n"
            "def slow(boxes, *rest, **options):\n"
            "    if not hasattr(boxes, '__len__') or len(boxes):\n"
            "        print('now', flush=True); time.sleep(30)\n"
            "    return boxes[:, 0].astype(int)\n"
            f"{target.replace('fastdet.cli', 'cli')} = slow\n"
            "sys.exit(cli.main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", code, "nms", str(tmp_path / "raw.json"), "-o", str(tmp_path / "out.json")]
        began = time.monotonic()
        with heeding_ctrl_c(command) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "now\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err == "fastdet: interrupted, nothing written\n"
        assert time.monotonic() - began < 20
        assert (tmp_path / "out.json").read_text() == "old"
        assert len(list(tmp_path.iterdir())) == 2


def wait_for_open(pid: int, path: Path) -> None:
    """Until the process has the file open (Linux), else for a second."""
    folder = Path(f"/proc/{pid}/fd")
    for _ in range(600):
        if not folder.is_dir():
            time.sleep(1)
            return
        with contextlib.suppress(OSError):  # a file that is closed meanwhile
            if str(path) in map(os.readlink, folder.iterdir()):
                return
        time.sleep(0.05)
    raise AssertionError(f"{path} was not opened")


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
    assert capsys.readouterr().err == "fastdet: not carried over: keep\n"
    with np.load(source) as raw, np.load(tmp_path / "a.npz") as final:
        assert np.array_equal(final["boxes"], raw["boxes"][raw["keep"]])
