"""The house: one word per area in every root, exports only in `__init__`, one signature per op on every backend."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import fastdet

PACKAGE = Path(fastdet.__file__).parent
ROOT = Path(__file__).parents[2]
AREAS = (
    "boxes",
    "nms",
    "fusion",
    "upsample",
    "pool",
    "losses",
    "segmentation",
    "detection",
    "yolo",
    "masks",
    "keypoints",
    "roi",
    "proposals",
    "rotated",
)


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in function.args.posonlyargs + function.args.args]


def references() -> dict[tuple[str, str], list[str]]:
    """(area, op) -> the parameters of its NumPy reference."""
    return {
        (path.parent.name, name.removesuffix("_reference")): parameters(function)
        for area in AREAS
        for path in sorted((PACKAGE / area).glob("*.py"))
        for name, function in functions(path).items()
        if name.endswith("_reference")
    }


def kernels(layer: str) -> list[tuple[str, str, list[str]]]:
    """(area, op, parameters) of each kernel of a layer that has a reference."""
    known = references()
    return [
        (path.parent.name, name, parameters(function))
        for area in AREAS
        for path in sorted((PACKAGE / area).glob(f"{layer}*.py"))
        for name, function in functions(path).items()
        if (path.parent.name, name) in known
    ]


def test_every_public_module_is_an_attribute() -> None:
    """Without a warning or an import before it; a star import needs nothing but NumPy."""
    code = (
        "import sys, fastdet\n"
        "first = dir(fastdet)  # before an area has imported another\n"
        "for name in sys.argv[1:]:\n"
        "    assert getattr(fastdet, name).__name__ == f'fastdet.{name}', name\n"
        "assert set(sys.argv[1:]) <= set(first)\n"
    )
    names = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    public = sorted(name for name in names if not name.startswith("_"))
    assert {"plots", "distributed", "fusion", "box_losses", "sigmoid_focal", "nms"} <= set(public)
    if importlib.util.find_spec("torch") is None:
        public.remove("models")
    environment_path = str(PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {environment_path!r})\n{code}", *public],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("area", AREAS)
def test_an_area_has_its_word_in_every_root(area: str) -> None:
    for root in ("csrc", "tests", "docs/pages", "bench"):
        if not (ROOT / root).is_dir():
            pytest.skip("missing sources: the tests stand apart from the repository")
        folder = ROOT / root
        assert (folder / area).is_dir() or list(folder.glob(f"{area}.*")), f"{root} has no {area}"


@pytest.mark.parametrize(
    "area", [*AREAS, "coco", "plots", "distributed", "inference", "integrations", "_core", "_files"]
)
def test_init_only_exports(area: str) -> None:
    """Imports, `__all__`, and the line that registers the area's ops with torch."""
    for node in ast.parse((PACKAGE / area / "__init__.py").read_text()).body:
        shown = ast.unparse(node)
        allowed = isinstance(node, (ast.Import, ast.ImportFrom)) or shown.startswith(("'", '"', "__all__ = "))
        assert allowed or shown == "register_with_torch(__name__)", shown


@pytest.mark.parametrize("layer", ["_numba", "_cuda"])
def test_a_kernel_has_the_signature_of_its_reference(layer: str) -> None:
    known, seen = references(), kernels(layer)
    assert len(seen) >= 20
    for area, op, names in seen:
        assert names == known[area, op], f"fastdet.{area}.{layer}.{op}"


def test_every_reference_has_a_numba_kernel() -> None:
    """Found by path: `fastdet.<area>._numba.<op>`."""
    for area, op in references():
        if op in ("_no", "overlap"):  # no op: a part of match_groups, and the reference of what only cpp has
            continue
        module = importlib.import_module(f"fastdet.{area}._numba")
        assert hasattr(module, op), f"fastdet.{area}._numba.{op}"


def own_files(*endings: str) -> list[Path]:
    roots = [ROOT / name for name in ("fastdet", "csrc", "tests", "bench", "docs")]
    if not all(root.is_dir() for root in roots):
        pytest.skip("missing sources: the tests stand apart from the repository")
    return sorted(path for root in roots for path in root.rglob("*") if path.suffix in endings)


def test_no_file_is_above_500_lines() -> None:
    files = own_files(".py", ".cpp", ".cu", ".h")
    assert len(files) > 300
    assert [path.name for path in files if path.read_text().count("\n") > 500] == []


def test_no_function_is_above_80_lines() -> None:
    """Its docstring not counted."""
    long = []
    for path in own_files(".py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if ast.get_docstring(node) is not None:
                    first = node.body[0]
                    lines -= (first.end_lineno or first.lineno) - first.lineno + 1
                if lines > 80:
                    long.append(f"{path.name}: {node.name} has {lines}")
    assert long == []


def test_the_lock_of_the_interpreter_is_released_by_one_class() -> None:
    """fastdet::WithoutGil, which waits where the interpreter ends; pybind11's own would abort the process."""

    def files_with(*names: str) -> list[str]:
        paths = (path for path in own_files(".cpp", ".h") if any(name in path.read_text() for name in names))
        return [path.relative_to(ROOT).as_posix() for path in paths]

    assert files_with("gil_scoped_", "PyGILState_") == []
    assert files_with("PyEval_SaveThread", "PyEval_RestoreThread") == ["csrc/python/bindings.h"]
