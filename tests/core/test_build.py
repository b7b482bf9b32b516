"""What the objects of the compiled loops hold: a copy for one instruction set must not run on a lesser processor."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ISAS = ("baseline", "avx2", "avx512")


def newest(isa: str) -> list[Path]:
    """The objects of `*_loops.cpp` in the build folder, each as it was compiled last."""
    found: dict[str, Path] = {}
    for path in ROOT.glob(f"build/temp*/{isa}-*/csrc/*/*_loops.o"):
        name = f"{path.parent.name}/{path.name}"
        if name not in found or found[name].stat().st_mtime < path.stat().st_mtime:
            found[name] = path
    return [found[name] for name in sorted(found)]


def needs_objects() -> None:
    if not newest("baseline"):
        pytest.skip("no build folder with objects here: setup.py build_ext --inplace makes one")
    if not (shutil.which("nm") and shutil.which("objdump")):
        pytest.skip("nm and objdump are not installed")


@pytest.mark.parametrize("isa", ISAS)
def test_symbols_of_a_copy_stay_in_its_namespace(isa: str) -> None:
    """The linker keeps one copy of a weak symbol: it could hand AVX-512 code to every processor."""
    needs_objects()
    for path in newest(isa):
        text = subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True, check=True).stdout
        shared = [line.split()[-1] for line in text.splitlines() if line.split()[-2] in "WwVvu"]
        own = f"N7fastdet{len(isa)}{isa}"  # fastdet::<isa>:: in a mangled name
        assert [name for name in shared if own not in name] == [], path


@pytest.mark.parametrize("isa", ISAS)
def test_nothing_of_a_copy_runs_when_the_module_is_loaded(isa: str) -> None:
    needs_objects()
    for path in newest(isa):
        text = subprocess.run(["objdump", "-h", path], capture_output=True, text=True, check=True).stdout
        assert ".text" in text
        assert ".init_array" not in text, path
        assert ".ctors" not in text, path


def test_every_file_of_loops_is_compiled_for_every_instruction_set() -> None:
    needs_objects()
    sources = {f"{path.parent.name}/{path.stem}.o" for path in ROOT.glob("csrc/*/*_loops.cpp")}
    for isa in ISAS if newest("avx2") else ISAS[:1]:
        assert sources <= {f"{path.parent.name}/{path.name}" for path in newest(isa)}
