"""Readers and writers import nothing of the command line, and raise one class of errors."""

from __future__ import annotations

import ast
from pathlib import Path

import fastdet
import fastdet.coco
from fastdet._files import errors

FILES = sorted((Path(fastdet.__file__).parent / "_files").glob("*.py"))
BELOW = {"_core", "_files", "boxes", "detection", "keypoints", "masks", "segmentation"}


def test_imports_run_down() -> None:
    assert len(FILES) > 10
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            areas = {name.split(".")[1] for name in names if name.startswith("fastdet.")}
            assert areas <= BELOW, path


def test_one_format_error() -> None:
    assert fastdet.coco.FormatError is errors.FormatError
    assert issubclass(errors.FormatError, ValueError)
    classes = [
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and node.name == "FormatError"
    ]
    assert classes == ["FormatError"]


def test_files_are_opened_in_two_places() -> None:
    """A reader that opens a file by itself would wait for a pipe; a writer would follow any link."""
    allowed = {"opening.py", "atomic.py"}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or path.name in allowed:
                continue
            if isinstance(node.func, ast.Name):
                assert node.func.id != "open", path
            elif isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                whole = node.func.attr in ("read_text", "read_bytes", "write_text", "write_bytes")
                assert not whole or owner == "text", path  # fastdet._files.text opens through opening.py
                assert not (node.func.attr == "open" and owner in ("path", "child", "file", "os")), path
