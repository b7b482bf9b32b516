"""The command in processes of its own: Ctrl-C, a long file, a closed pipe."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import COMMAND, detections, heeding_ctrl_c, peak


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


def test_memory_is_bounded(tmp_path: Path) -> None:
    """200,000 detections take at most 150 bytes each above a small run, and 16 MB for the pieces."""
    n = 200_000
    long_json(tmp_path / "small.json", 100)
    long_json(tmp_path / "long.json", n)
    flags = ["--score-threshold", "0.5", "--threads", "1"]
    base = peak([*COMMAND, "nms", str(tmp_path / "small.json"), "-o", str(tmp_path / "a.json"), *flags])
    peak_bytes = peak([*COMMAND, "nms", str(tmp_path / "long.json"), "-o", str(tmp_path / "b.json"), *flags])
    assert len(json.loads((tmp_path / "b.json").read_text())) > n // 3
    assert peak_bytes - base < n * 150 + (16 << 20)


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
@pytest.mark.parametrize(
    "start", ["runpy.run_module('fastdet', run_name='__main__')", "import fastdet.cli; fastdet.cli.main()"]
)
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
    for target in ("fastdet.nms.batched_nms", "fastdet._files.detections._copied"):
        code = (
            "import sys, time, fastdet.cli, fastdet.nms, fastdet._files.detections\n"
            "def slow(boxes, *rest, **options):\n"
            "    if not hasattr(boxes, '__len__') or len(boxes):\n"
            "        print('now', flush=True); time.sleep(30)\n"
            "    return boxes[:, 0].astype(int)\n"
            f"{target} = slow\n"
            "sys.exit(fastdet.cli.main(sys.argv[1:]))"
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
