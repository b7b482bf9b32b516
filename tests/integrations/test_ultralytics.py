"""`fastdet.integrations.ultralytics`. Skipped, and counted, without Ultralytics: its licence keeps it out of CI."""

from __future__ import annotations

from pathlib import Path

import pytest
from frameworks import need_installed, run_checks, run_script

from fastdet import integrations

# one thread: torch's threads wait for each other in tight loops where other processes have the cores
QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "OMP_NUM_THREADS": "1"}


def test_same_results_inside_ultralytics(tmp_path: Path) -> None:
    need_installed("ultralytics", "torch", "torchvision")
    run_checks("ultralytics", YOLO_CONFIG_DIR=str(tmp_path), **QUIET)


def test_other_parameters_are_refused(tmp_path: Path) -> None:
    """A version whose functions take other arguments: an error, and nothing is replaced."""
    need_installed("ultralytics", "torch")
    code = (
        "import fastdet.integrations as inside\n"
        "from ultralytics.utils import nms, ops\n"
        "kept = nms.non_max_suppression\n"
        "def scale_masks(masks, shape): return masks\n"
        "ops.scale_masks = scale_masks\n"
        "try:\n"
        "    inside.ultralytics()\n"
        "except inside.IntegrationError as error:\n"
        "    print(error)\n"
        "assert nms.non_max_suppression is kept and inside.active() == []\n"
    )
    done = run_script(code, YOLO_CONFIG_DIR=str(tmp_path), **QUIET)
    assert done.returncode == 0, done.stderr
    assert "ultralytics: scale_masks of this version takes (masks, shape)" in done.stdout


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastdet.integrations._replace.version_of", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(integrations.IntegrationError, match="ultralytics: the package is not installed: pip install"):
        integrations.ultralytics()
    assert integrations.active() == []
