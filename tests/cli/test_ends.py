"""How the command ends: signals, Ctrl-C at any time, streams that are closed or full, inputs that are no files."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import COMMAND, detections, fails, heeding_ctrl_c
from evaluate_forms import coco
from panoptic_files import data_set

from fastdet.cli.app import main

SLOW = (  # a command that is stopped in the middle of writing its output
    "import sys, time, fastdet.cli, fastdet._files.detections\n"
    "def slow(*_):\n"
    "    print('now', flush=True); time.sleep(60)\n"
    "fastdet._files.detections._copied = slow\n"
    "sys.exit(fastdet.cli.main(sys.argv[1:]))"
)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_signals_remove_the_temporary_file(tmp_path: Path, number: int, code: int, word: str) -> None:
    (tmp_path / "raw.json").write_text(json.dumps(detections()))
    (tmp_path / "out.json").write_text("old")
    command = [sys.executable, "-c", SLOW, "nms", str(tmp_path / "raw.json"), "-o", str(tmp_path / "out.json")]
    with heeding_ctrl_c(command) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        assert len(list(tmp_path.iterdir())) == 3
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, f"fastdet: {word}, nothing written\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json", "raw.json"]
    assert (tmp_path / "out.json").read_text() == "old"


def test_ignored_signals_stay_ignored() -> None:
    """As under nohup."""
    code = (
        "import os, signal, sys, fastdet.cli.info as info, fastdet.cli\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "info.fastdet.show_config = lambda: os.kill(os.getpid(), signal.SIGHUP)\n"
        "sys.exit(fastdet.cli.main(['info']))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ctrl_c_at_any_time() -> None:
    """From where the handler stands on: exit code 130 and one line, or the whole answer."""
    code = (
        "import sys, fastdet.cli.start as start\n"
        "start.end_at_ctrl_c(); print('stands', flush=True)\n"
        "import fastdet.cli; sys.exit(fastdet.cli.main())"
    )
    command = [sys.executable, "-c", code, "info"]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.monotonic() - began
    rng = random.Random(0)
    for _ in range(8):
        with heeding_ctrl_c(command) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "stands\n"
            time.sleep(rng.random() * whole)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        if process.returncode == -signal.SIGINT:  # all was printed, and Python had already given its handlers back
            assert "FASTDET_NUM_THREADS" in out
            assert err == ""
        else:
            assert (process.returncode, err) in ((130, "fastdet: interrupted, nothing written\n"), (0, "")), out + err


def test_the_package_is_light() -> None:
    """Importing it takes no time in which Ctrl-C could come: NumPy is imported after the handler stands."""
    code = "import sys, fastdet.cli.start; assert 'numpy' not in sys.modules; import fastdet; fastdet.config()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", ["info", "info --json", "--version", "--help", "nms --help"])
@pytest.mark.parametrize(
    ("shell", "code", "text"),
    [
        (">&-", 2, "fastdet: stdout must be open, got a closed one\n"),
        (">/dev/full", 2, "fastdet: stdout: No space left on device\n"),
        ("2>&- >/dev/null", 0, ""),
        ("2>/dev/full >/dev/null", 0, ""),
    ],
)
def test_streams(command: str, shell: str, code: int, text: str) -> None:
    line = f'"{sys.executable}" -m fastdet {command} {shell}'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, text)


def test_an_error_that_cannot_be_printed() -> None:
    for shell in ("2>&-", "2>/dev/full"):
        line = f'"{sys.executable}" -m fastdet evaluate no where {shell}'
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_reader_that_has_gone() -> None:
    """Nothing is said, as by other commands in a pipe; the exit code is 1."""
    line = f'("{sys.executable}" -m fastdet info; echo $? >&2) | head -0'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == "1\n"


def test_no_home_and_no_cache(tmp_path: Path) -> None:
    """Numba's and matplotlib's folders cannot be written."""
    (tmp_path / "raw.json").write_text(json.dumps(detections()))
    for extra in ({}, {"HOME": "/nowhere"}, {"NUMBA_CACHE_DIR": "/dev/null/x", "MPLCONFIGDIR": "/dev/null/x"}):
        command = [*COMMAND, "nms", str(tmp_path / "raw.json"), "-o", str(tmp_path / "out.json")]
        folder = str(Path(__file__).parents[2])
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": folder, **extra}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


# ------------------------------------------------------------------------------------------------ what is no file
def replaced(path: Path, kind: str) -> None:
    """Something else in the place of a file."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "nowhere": "/nowhere"}[kind])


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "nowhere"])
def test_inputs_that_are_no_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """Each file that a command reads: an error at once."""
    gt, dt = coco(tmp_path)
    odd = tmp_path / "odd.json"
    replaced(odd, kind)
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    calls: list[list[Any]] = [["nms", odd, "-o", tmp_path / "out.json"], ["evaluate", odd, dt], ["evaluate", gt, odd]]
    calls += [["evaluate", gt, dt, option, odd] for option in ("--classes", "--image-set")]
    np.save(tmp_path / "maps.npy", np.zeros((1, 2, 2), np.uint8))
    maps = ["miou", tmp_path / "maps.npy", tmp_path / "maps.npy"]
    calls += [[*maps, option, odd] for option in ("--classes", "--map", "--palette")]
    calls += [["miou", odd, tmp_path / "maps.npy", "--classes", "2"]]
    truth, guess, _ = data_set(tmp_path / "panoptic", 1)
    calls += [["panoptic", odd, guess], ["panoptic", truth, odd], ["panoptic", truth, guess, "--truth-folder", odd]]
    for arguments in calls:
        if kind != "folder" or arguments[0] != "miou":
            assert fails(capsys, *arguments)
    for suffix, name in ((".xml", "x.xml"), (".txt", "x.txt"), (".png", "x.png"), (".npy", "x.npy")):
        inside = tmp_path / f"folder{suffix}"
        inside.mkdir()
        replaced(inside / name, kind)
        if suffix in (".png", ".npy"):
            if kind != "folder":
                assert fails(capsys, "miou", inside, inside, "--classes", 2)
            assert fails(capsys, "evaluate", folder, folder, "--images", inside)
        else:
            assert fails(capsys, "evaluate", inside, dt)
            assert fails(capsys, "evaluate", gt, inside)


def test_outputs_that_are_no_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw.json").write_text(json.dumps(detections()))
    os.mkfifo(tmp_path / "out.json")
    text = fails(capsys, "nms", tmp_path / "raw.json", "-o", tmp_path / "out.json")
    assert text == f"{tmp_path / 'out.json'}: expected a file, got a pipe"
    assert stat.S_ISFIFO((tmp_path / "out.json").stat().st_mode)
    (tmp_path / "null.json").symlink_to("/dev/null")
    assert main(["nms", str(tmp_path / "raw.json"), "-o", str(tmp_path / "null.json")]) == 0
    assert (tmp_path / "null.json").is_symlink()
    capsys.readouterr()
    plots = tmp_path / "plots"
    plots.mkdir()
    os.mkfifo(plots / "report.html")
    assert "expected a file, got a pipe" in fails(capsys, "evaluate", *coco(tmp_path), "--plots", plots)
