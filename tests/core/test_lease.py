"""bench/lease.py: parts that fail, hang or lack a tool; what is left in the folder; the summary."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lease() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lease", ROOT / "bench" / "lease.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lease"] = module
    spec.loader.exec_module(module)
    return module


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_later_parts_run_when_earlier_ones_fail(lease: ModuleType, tmp_path: Path) -> None:
    began = time.monotonic()
    plan = [
        lease.Part("fails", "env.txt", 20, [python("print('seen'); raise SystemExit(3)")]),
        lease.Part("hangs", "build.txt", 1.5, [python("import time; time.sleep(60)")]),
        lease.Part("lacks", "smoke.txt", 20, [python("")], "no-such-program"),
        lease.Part("absent", "captures.txt", 20, [["no-such-program"], python("print('next')")]),
        lease.Part("works", "sanitizers.txt", 20, [python("print('done')")]),
    ]
    assert lease.lease(plan, tmp_path, dict(os.environ), 60) == 4
    assert time.monotonic() - began < 30
    text = (tmp_path / "summary.txt").read_text()
    status = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[1:6]}
    assert status == {"fails": 3, "hangs": lease.LATE, "lacks": lease.MISSING, "absent": lease.MISSING, "works": 0}
    assert "missing program: no-such-program" in text
    assert "seen" in (tmp_path / "env.txt").read_text()
    assert "next" in (tmp_path / "captures.txt").read_text()


def test_a_part_that_is_late_leaves_no_process(lease: ModuleType, tmp_path: Path) -> None:
    child = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(300)"
    code = (
        f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}]); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); time.sleep(300)"
    )
    outcome = lease.carry_out(lease.Part("late", "late.txt", 2, [python(code)]), tmp_path, dict(os.environ), 60)
    assert outcome.status == lease.LATE
    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the child of a late part is still running")


def test_no_part_outlasts_the_time_of_all(lease: ModuleType, tmp_path: Path) -> None:
    plan = [lease.Part(name, f"{name}.txt", 60, [python("import time; time.sleep(60)")]) for name in ("a", "b", "c")]
    began = time.monotonic()
    assert lease.lease(plan, tmp_path, dict(os.environ), 3) == 3
    assert time.monotonic() - began < 20


def test_a_report_of_an_interrupted_run_is_counted(lease: ModuleType, tmp_path: Path) -> None:
    tests = tmp_path / "test_some.py"
    bodies = {"a": "pass", "b": "assert False", "c": "time.sleep(60)", "d": "pass"}
    tests.write_text("import time\n" + "".join(f"def test_{name}(): {body}\n" for name, body in bodies.items()))
    report = tmp_path / "out" / "parity.xml"
    report.parent.mkdir()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        f"--rootdir={tmp_path}",
    ]
    part = lease.Part("parity", "parity.xml", 12, [[*command, f"--junitxml={report}", str(tests)]])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell
    outcome = lease.carry_out(part, report.parent, dict(os.environ), 60)
    signal.signal(signal.SIGINT, before)
    assert outcome.status == lease.LATE
    assert "1 failures" in outcome.note
    assert outcome.tests == ["test_some::test_b"]


def test_the_folder_and_the_summary_stay_small(lease: ModuleType, tmp_path: Path) -> None:
    row = {
        "op": "nms",
        "size": "1k",
        "who": "fastdet cuda",
        "median_us": 20.0,
        "device_us": None,
        "ratio_to_fastdet_cuda": 1,
    }
    (tmp_path / "bench.json").write_text(json.dumps({"rows": [row] * 300}))
    code = "import sys; sys.stdout.write('x' * (20 << 20))"
    plan = [
        lease.Part(name, file, 60, [python(code)])
        for name, file in (("build", "build.txt"), ("parity", "parity.xml"), ("bench", "bench.json"))
    ]
    lease.lease(plan, tmp_path, dict(os.environ), 60)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"build.txt", "bench.json", "summary.txt"}
    assert max(sizes.values()) <= lease.LARGEST
    lines = (tmp_path / "summary.txt").read_text().splitlines()
    assert len(lines) == lease.LINES
    assert lines[-1].startswith("... ")


def test_the_plan(lease: ModuleType, tmp_path: Path) -> None:
    """The captures are tests that there are; no more files than may come back; the parts fit, but for the last one."""
    plan = lease.parts(tmp_path, sys.executable, False)
    assert len({part.file for part in plan} | {"summary.txt"}) <= 8
    known = (ROOT / lease.GPU_TESTS).read_text()
    assert all(f"def {name}(" in known for name in lease.CAPTURES)
    assert sum("Graph" in part or "graph" in part for part in known.split("\ndef ")[1:]) >= len(lease.CAPTURES)
    assert plan[-1].name == "sanitizers"


def test_objects_of_other_sources_are_not_taken(tmp_path: Path) -> None:
    code = (
        "import os, setup; from pathlib import Path\n"
        "a = setup.kept_object('avx2', 'csrc/nms/nms_loops.cpp', ['-O3'])\n"
        "assert a == setup.kept_object('avx2', 'csrc/nms/nms_loops.cpp', ['-O3'])\n"
        "assert a != setup.kept_object('avx2', 'csrc/nms/nms_loops.cpp', ['-O2'])\n"
        "setup.sources_hash.cache_clear()\n"
        "Path('csrc/nms/nms.h').write_text('changed')\n"
        "assert a != setup.kept_object('avx2', 'csrc/nms/nms_loops.cpp', ['-O3'])\n"
        "del os.environ['FASTDET_OBJECTS']\n"
        "assert setup.kept_object('avx2', 'csrc/nms/nms_loops.cpp', ['-O3']) is None\n"
    )
    pytest.importorskip("setuptools")
    pytest.importorskip("pybind11")
    for name in ("setup.py", "csrc/nms/nms.h", "csrc/nms/nms_loops.cpp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    env = {**os.environ, "FASTDET_OBJECTS": str(tmp_path / "objects")}
    subprocess.run(python(code), cwd=tmp_path, env=env, check=True)
