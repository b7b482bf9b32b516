"""The CUDA backend with nvcc's own code in it: each kernel's PTX as C++, nvcc's host code, the runtime of this folder.

Everything is cached by content in build/ptx: what nvcc makes of a kernel by sources and flags, an object by its text.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from optional import need

from . import translate

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
EMULATOR = ROOT / "tests" / "cuda_emulator"
FOLDER = ROOT / "build" / "ptx"
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing"]
OWN = ["-Wall", "-Wextra", "-Werror", "-g1"]
TRANSLATOR = ("parse", "operands", "table", "arithmetic", "memory", "translate")
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.M)


@lru_cache(maxsize=1)
def setup_module() -> ModuleType:
    """setup.py, which finds nvcc and has its flags."""
    need("setuptools")
    need("pybind11")
    folder = os.getcwd()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    try:
        import setup
    finally:
        sys.path.remove(str(ROOT))
        os.chdir(folder)
    return setup


def jobs(run: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(run, items))


def command(*arguments: str, cwd: Path = ROOT) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    done = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(arguments)}\n{done.stderr[-4000:]}")


def digest(*parts: object) -> str:
    joined = b"\0".join(part if isinstance(part, bytes) else repr(part).encode() for part in parts)
    return hashlib.sha256(joined).hexdigest()[:16]


def closure(path: Path) -> bytes:
    """A source with every file of csrc or of this folder that it includes, in a fixed order."""
    seen: dict[Path, bytes] = {}
    open_ = [path]
    while open_:
        here = open_.pop()
        if here in seen:
            continue
        seen[here] = here.read_bytes()
        for name in INCLUDE.findall(seen[here]):
            near = (folder / name.decode() for folder in (here.parent, ROOT / "csrc", EMULATOR))
            open_ += [found for found in near if found.is_file()][:1]
    return b"\0".join(text for _, text in sorted(seen.items()))


def nvcc_output(source: Path, arch: str) -> Path:
    """The folder where nvcc left ``module.ptx`` and ``host.o`` of a kernel file."""
    setup = setup_module()
    nvcc = setup.find_nvcc()
    flags = [flag for flag in setup.NVCC_FLAGS if not flag.startswith("-Xfatbin")]
    flags += ["-lineinfo", "-w", f"-gencode=arch=compute_{arch},code=compute_{arch}"]
    version = subprocess.run([nvcc, "--version"], capture_output=True, check=True).stdout
    folder = FOLDER / f"{source.parent.name}-{source.stem}-{arch}-{digest(closure(source), flags, version)}"
    if not folder.exists():
        work = folder.with_suffix(f".{os.getpid()}")
        work.mkdir(parents=True)
        relative = str(source.relative_to(ROOT))
        command(nvcc, "-c", relative, "-o", str(work / "host.o"), *flags, "--keep", "--keep-dir", str(work))
        (ptx,) = work.glob("*.ptx")
        ptx.rename(work / "module.ptx")
        for path in work.iterdir():
            if path.name not in ("module.ptx", "host.o"):
                path.unlink()
        os.replace(work, folder)
    return folder


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX", "g++"))


def compiled(source: Path, flags: list[str]) -> str:
    """The object of a C++ file, compiled where its content is new."""
    flags = [*FLAGS, *flags]
    key = digest(closure(source), compiler(), flags, sys.version)
    target = FOLDER / f"{source.stem}-{key}.o"
    if not target.exists():
        command(*compiler(), *flags, "-c", str(source), "-o", f"{target}.{os.getpid()}")
        os.replace(f"{target}.{os.getpid()}", target)
    return str(target)


def translated(ptx: Path, name: str) -> list[str]:
    """The objects of a PTX file. Their sources are named by content: a new translator compiles what it changes."""
    text = ptx.read_text()
    key = digest(text, *((HERE / f"{part}.py").read_bytes() for part in TRANSLATOR))
    folder = FOLDER / "translated"
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / f"{name}-{key}.txt"
    if not index.exists():
        names = []
        for part in translate.module(text, name):
            names.append(f"{name}-{digest(part)}.cpp")
            write(folder / names[-1], part)
        write(index, "\n".join(names))
    sources = [folder / line for line in index.read_text().splitlines()]
    return [compiled(source, ["-w", f"-I{HERE / 'runtime'}"]) for source in sources]


def write(path: Path, text: str) -> None:
    work = path.with_suffix(f".{os.getpid()}")
    work.write_text(text)
    os.replace(work, path)


def runtime() -> list[str]:
    """The objects of the machine: it takes no CUDA header, but for cudart.cpp."""
    flags = [*OWN, f"-I{EMULATOR}", f"-I{HERE / 'runtime'}"]
    sources = [*sorted((HERE / "runtime").glob("*.cpp")), EMULATOR / "emulator.cpp"]
    return jobs(lambda source: compiled(source, flags), (s for s in sources if s.name != "cudart.cpp"))


def module_sources() -> list[Path]:
    """The bindings in two files, since pybind11 takes seconds a file, and the rest of the module."""
    csrc = ROOT / "csrc"
    bindings = sorted([*csrc.glob("*/*cuda_bindings.cpp"), csrc / "python" / "cuda_module.cpp"])
    files = [FOLDER / f"bindings_{half}.cpp" for half in (0, 1)]
    for half, path in enumerate(files):
        write(path, "".join(f'#include "{source.relative_to(csrc)}"\n' for source in bindings[half::2]))
    return [*files, *sorted(csrc.glob("cuda/*.cpp"))]


def linked(objects: list[str], name: str, *flags: str) -> Path:
    target = FOLDER / f"{name}-{digest(objects, flags)}.so"
    if not target.exists():
        command(*compiler(), "-shared", *objects, *flags, "-o", f"{target}.{os.getpid()}")
        os.replace(f"{target}.{os.getpid()}", target)
    return target


def from_text(ptx: str, name: str) -> Path:
    """A library of kernels that are written as PTX, without nvcc."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}-{digest(ptx)}.ptx"
    path.write_text(ptx)
    return linked([*translated(path, name), *runtime()], name, "-Wl,-Bsymbolic")


@lru_cache
def library(arch: str = "90") -> Path:
    """fastdet._cuda, whose kernels are nvcc's PTX for that architecture."""
    setup = setup_module()
    pybind11 = need("pybind11")
    FOLDER.mkdir(parents=True, exist_ok=True)
    include, _ = setup.cuda_folders(setup.find_nvcc())

    def kernels(source: Path) -> list[str]:
        output = nvcc_output(source, arch)
        return [str(output / "host.o"), *translated(output / "module.ptx", f"{source.parent.name}-{source.stem}")]

    csrc = ROOT / "csrc"
    sources = sorted(csrc.rglob("*.cu"), key=lambda path: -path.stat().st_size)
    objects = [part for parts in jobs(kernels, sources) for part in parts]
    flags = ["-w", *(f"-I{path}" for path in (csrc, include, pybind11.get_include(), sysconfig.get_path("include")))]
    objects += jobs(lambda source: compiled(source, flags), module_sources())
    objects += runtime()
    objects.append(
        compiled(HERE / "runtime" / "cudart.cpp", [*OWN, f"-DPTX_ARCH={arch}", f"-I{include}", f"-I{HERE / 'runtime'}"])
    )
    return linked(objects, f"_cuda-{arch}", "-Wl,-Bsymbolic")
