"""Inputs of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import detections
from miou_files import folder, scene

from fastdet.cli.app import main


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.json"
    path.write_text(json.dumps(detections()))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    truth, guess = scene()
    return folder(tmp_path / "gt", truth), folder(tmp_path / "pred", guess)


@pytest.fixture
def score(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """The JSON object of a run that goes well and says nothing else."""

    def run(*arguments: object) -> dict[str, Any]:
        code = main(["miou", *map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return json.loads(out)

    return run
