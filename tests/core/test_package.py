"""The installed package: version, types, the stubs of the native modules, metadata, the console script."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fastdet

EXTRAS = {"cli", "numba", "torch", "cuda12", "cuda13", "ray", "test", "bench", "docs", "dev", "all"}
HERE = Path(fastdet.__file__).parent


@pytest.fixture
def installed() -> importlib.metadata.Distribution:
    try:
        package = importlib.metadata.distribution("fastdet")
    except importlib.metadata.PackageNotFoundError:
        package = None
    if package is None or package.read_text("INSTALLER") is None:  # a build in place leaves metadata too
        pytest.skip("missing metadata: fastdet is on the path, but not installed")
    return package


def test_version(installed: importlib.metadata.Distribution) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(a|b|rc|dev)\d+)?", fastdet.__version__)
    assert installed.version == fastdet.__version__


def test_types_are_shipped() -> None:
    assert (HERE / "py.typed").is_file()


@pytest.mark.parametrize("name", ["_cpp", "_cuda"])
def test_stub_of_the_native_module(name: str) -> None:
    """The stub declares exactly the module's functions and classes, each function with the arguments that it takes."""
    if name == "_cuda" and importlib.util.find_spec("fastdet._cuda") is None:
        pytest.skip("missing extension: fastdet was built without CUDA")
    check_stub(ast.parse((HERE / f"{name}.pyi").read_text()).body, importlib.import_module(f"fastdet.{name}"))


def check_stub(declared: list[ast.stmt], native: object) -> None:
    stubs = {node.name: node for node in declared if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert {name for name in stubs if name != "__init__"} == {name for name in dir(native) if not name.startswith("_")}
    for name, stub in stubs.items():
        if isinstance(stub, ast.ClassDef):
            check_stub(stub.body, getattr(native, name))
            continue
        signature = getattr(native, name).__doc__.split("\n")[0]
        assert signature.startswith(f"{name}(")
        shown = len(re.findall(r"\w+: ", signature))
        assert len(stub.args.posonlyargs) + len(stub.args.args) == shown, signature


def test_metadata(installed: importlib.metadata.Distribution) -> None:
    assert set(installed.metadata.get_all("Provides-Extra", [])) == EXTRAS
    assert installed.metadata["License-Expression"] == "Apache-2.0"
    required = [r for r in installed.requires or [] if "extra ==" not in r]
    assert [re.split(r"[><=~! ]", r)[0] for r in required] == ["numpy"]


def test_console_script(installed: importlib.metadata.Distribution) -> None:
    assert any(entry.name == "fastdet" for entry in installed.entry_points)
    script = Path(sysconfig.get_path("scripts")) / ("fastdet.exe" if os.name == "nt" else "fastdet")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert fastdet.__version__ in done.stdout


# The first release without a hole that a stranger's file could use.
WITHOUT_HOLES = {"pyarrow": (14, 0, 1), "pillow": (10, 3), "torch": (2, 6), "pyyaml": (5, 4)}


def test_what_is_installed_has_no_known_hole(installed: importlib.metadata.Distribution) -> None:
    least: dict[str, list[tuple[int, ...]]] = {}
    for requirement in installed.requires or []:
        if found := re.match(r"([\w-]+)>=([\d.]+)", requirement):
            least.setdefault(found[1].lower(), []).append(tuple(map(int, found[2].split("."))))
    for name, first in WITHOUT_HOLES.items():
        assert least[name], name
        assert min(least[name]) >= first, name


def test_licences_of_what_is_compiled_in(installed: importlib.metadata.Distribution) -> None:
    shipped = {path.name: path.read_text() for path in installed.files or [] if "licenses" in path.parts}
    assert "Wenzel Jakob" in shipped["pybind11.txt"]
    assert "NVIDIA CORPORATION" in shipped["cub.txt"]
    assert "cudart_static" in shipped["cuda_runtime.txt"]
    assert "Apache License" in shipped["LICENSE"]


@pytest.mark.parametrize("name", ["_cpp", "_cuda"])
def test_the_module_is_hardened(name: str) -> None:
    """Addresses of other libraries' functions are read-only after the start; the stack and copies are checked."""
    if importlib.util.find_spec(f"fastdet.{name}") is None:
        pytest.skip("missing extension: fastdet was built without CUDA")
    if not sys.platform.startswith("linux") or shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    path = importlib.import_module(f"fastdet.{name}").__file__
    read = lambda what: subprocess.run(["readelf", what, path], capture_output=True, text=True, check=True).stdout  # noqa: E731
    symbols = read("-Ws")
    if "__asan_init" in symbols:
        pytest.skip("a build with sanitizers checks more")
    assert "GNU_RELRO" in read("-lW")
    assert "BIND_NOW" in read("-dW")
    assert "__stack_chk_fail" in symbols
