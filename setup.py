"""The extensions and every compile flag, here and nowhere else. Metadata is in pyproject.toml.

Sources are found by their names. `csrc/<area>/<op>_loops.cpp` is compiled once per instruction set, and
csrc/core/isa.cpp chooses at run time; `bindings.cpp` files are compiled a few at a time as one, every other .cpp once.
fastdet._cuda is built where nvcc is found: kernels (*.cu) by nvcc, `cuda_bindings.cpp` files by the C++ compiler.
A later build compiles what has changed: the compiler writes down which files each object was made from.

    FASTDET_SANITIZE=address,undefined   build with these sanitizers (see tests/sanitize.sh)
    FASTDET_CUDA=auto|0|1                build fastdet._cuda: where there is an nvcc (default), never, or else fail
    FASTDET_CUDA_ARCHS="75 90"           the GPUs to compile for; by default 90 ("auto") or CUDA_ARCHS (1)
    FASTDET_OBJECTS=folder               keep objects that need no Python there, by the content of all sources, and take
                                         them from there: a build elsewhere then compiles the bindings only
"""

import functools
import glob
import gzip
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist


def found(pattern: str) -> list[str]:
    return sorted(path.replace(os.sep, "/") for path in glob.glob(pattern, recursive=True))


# What a file is follows from its name.
CUDA_KERNELS = found("csrc/**/*.cu")
CUDA_BINDINGS = [*found("csrc/*/*cuda_bindings.cpp"), "csrc/python/cuda_module.cpp"]
CUDA_REST = found("csrc/cuda/*.cpp")
BINDINGS = [*found("csrc/*/bindings.cpp"), "csrc/python/cpp_module.cpp"]
LOOPS = found("csrc/*/*_loops.cpp")
REST = sorted({*found("csrc/**/*.cpp")} - {*CUDA_BINDINGS, *CUDA_REST, *BINDINGS, *LOOPS})

COMPILER = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS")  # what setuptools takes of the environment

# One rounding everywhere: no contraction of a * b + c, no fast-math.
FLAGS = ["-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"]
# Stack protector, checked libc calls, and a table of addresses that nobody writes after the start. Their cost is below
# 1 % of the instructions of any op. Not for builds with sanitizers, which check more.
HARDENED = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
HARDENED_LINK = ["-Wl,-z,relro,-z,now"] if sys.platform == "linux" else []
BINDINGS_FLAGS = ["-O2"]  # no loops there
BINDINGS_FILES = 2  # pybind11 takes seconds a file and little a function: so many files for all areas

# For wheels. A build that nobody asked for ("auto") is a quick one, for one architecture. Each of them also holds the
# intermediate code (PTX) of the oldest, which the driver compiles for any other GPU when it is first used.
CUDA_ARCHS = "75 80 86 89 90 100 120"
# Results equal the CPU's: no contraction to FMA; division, square root and denormals are IEEE's by default.
NVCC_FLAGS = [
    "-O3",
    "-std=c++17",
    "-Icsrc",
    "--fmad=false",
    "--cudart=static",
    "-Xfatbin=-compress-all",
    "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-ffp-contract=off",
]

# Slowest first. The names are FASTDET_ISA's.
ISAS: dict[str, list[str]] = {"baseline": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    ISAS["avx2"] = ["-mavx2", "-mf16c"]
    ISAS["avx512"] = [
        "-mavx512f",
        "-mavx512dq",
        "-mavx512vl",
        "-mavx512bw",
        "-mf16c",
        "-mprefer-vector-width=512",
        "-Wno-maybe-uninitialized",
    ]


class BuildExt(build_ext):
    """Compiles the loops once per instruction set, several files at a time, and only what has changed."""

    def build_extension(self, ext: Pybind11Extension) -> None:
        if ext.name == "fastdet._cuda":
            self.build_cuda(ext)
        else:
            self.build_cpp(ext)

    def is_current(self, target: str) -> bool:
        """Whether an object of an earlier build is newer than every file that it was made from."""
        try:
            with open(target + ".d") as file:
                made_from = file.read().split(":", 1)[1].replace("\\\n", " ").split()
            return not self.force and max(map(os.path.getmtime, made_from)) < os.path.getmtime(target)
        except (OSError, IndexError):
            return False

    def folder(self, name: str, *made_by: object) -> str:
        """Where objects lie that are compiled alike."""
        made_by = (*made_by, pybind11.__version__, *map(os.environ.get, COMPILER))
        path = os.path.join(self.build_temp, f"{name}-{zlib.crc32(repr(made_by).encode()):08x}")
        os.makedirs(path, exist_ok=True)
        return path

    def together(self, sources: list[str], name: str) -> list[str]:
        """BINDINGS_FILES files that include all the sources."""
        files = []
        for i in range(BINDINGS_FILES):
            path = Path(self.folder(name), f"{name}_{i}.cpp")
            text = "".join(f'#include "{source.removeprefix("csrc/")}"\n' for source in sources[i::BINDINGS_FILES])
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
            files.append(str(path))
        return files

    def objects(self, ext: Pybind11Extension, jobs: list[tuple]) -> list[str]:
        """Compiles what is not current of jobs (source, name, macros, flags), in their order, several at a time."""

        def compile_one(job: tuple) -> str:
            source, name, macros, flags = job
            folder = self.folder(name, macros, flags)
            (target,) = self.compiler.object_filenames([source], output_dir=folder)
            kept = None if "bindings" in name or name == "cuda" else kept_object(name, source, macros, flags)
            if kept and os.path.exists(kept):
                return kept
            if not self.is_current(target):
                self.compiler.compile(
                    [source],
                    output_dir=folder,
                    macros=[*ext.define_macros, *macros],
                    include_dirs=ext.include_dirs,
                    extra_postargs=[*flags, "-MMD", "-MF", target + ".d"],
                )
            keep_object(target, kept)
            return target

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(compile_one, jobs))

    def build_cpp(self, ext: Pybind11Extension) -> None:
        sanitize = os.environ.get("FASTDET_SANITIZE", "")
        flags = [*FLAGS, *ext.extra_compile_args]
        if sanitize:
            flags += [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]
            ext.extra_link_args.append(f"-fsanitize={sanitize}")
        else:
            flags += HARDENED
            ext.extra_link_args += HARDENED_LINK
        flags += shlex.split(os.environ.get("FASTDET_CXXFLAGS", ""))
        light = [] if sanitize else BINDINGS_FLAGS
        each = ("FASTDET_EACH_ISA(X,...)", " ".join(f"X({isa}, __VA_ARGS__)" for isa in ISAS))
        first = next(iter(ISAS))
        jobs = [(source, "bindings", [], [*flags, *light]) for source in self.together(BINDINGS, "bindings")]
        loops = sorted(LOOPS, key=os.path.getsize, reverse=True)  # long ones first: none is then left over at the end
        for source in loops:
            for isa, extra in ISAS.items():
                macros = [("FASTDET_ISA", isa), *([each] if isa == first else [])]
                jobs.append((source, isa, macros, [*flags, *extra]))
        jobs += [(source, "common", [each], flags) for source in REST]
        self.compiler.link_shared_object(
            self.objects(ext, jobs),
            self.get_ext_fullpath(ext.name),
            extra_postargs=ext.extra_link_args,
            target_lang="c++",
            export_symbols=self.get_export_symbols(ext) if os.name == "nt" else None,
        )

    def build_cuda(self, ext: Pybind11Extension) -> None:
        wanted = os.environ.get("FASTDET_CUDA", "auto")
        if wanted not in ("auto", "0", "1"):
            raise SystemExit(f"FASTDET_CUDA must be auto, 0 or 1, got {wanted!r}")
        if wanted == "auto" and os.environ.get("FASTDET_SANITIZE"):
            wanted = "0"  # kernels are looked at on the emulator
        nvcc = None if wanted == "0" else find_nvcc()
        if nvcc is None:
            if wanted == "1":
                raise SystemExit("FASTDET_CUDA=1, but there is no nvcc: set CUDA_HOME, or put nvcc on the PATH")
            print(f"fastdet._cuda is skipped: {'FASTDET_CUDA=0' if wanted == '0' else 'no nvcc was found'}")
            return
        include, lib = cuda_folders(nvcc)
        names = os.environ.get("FASTDET_CUDA_ARCHS") or (CUDA_ARCHS if wanted == "1" else "90")
        archs = sorted(set(names.replace(",", " ").split()), key=int)
        folder = self.folder("cuda-" + "-".join(archs), NVCC_FLAGS, nvcc)
        started = time.monotonic()

        def compile_kernels(source: str) -> str:
            target = os.path.join(folder, source + ".o")
            kept = kept_object("cuda", source, archs)
            if kept and os.path.exists(kept):
                return kept
            if not self.is_current(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                command = nvcc_command(nvcc, source, target, archs)
                subprocess.run([*command, "-MMD", "-MF", target + ".d"], check=True)
            keep_object(target, kept)
            return target

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = list(pool.map(compile_kernels, CUDA_KERNELS))
        ext.include_dirs.append(include)
        flags = [*FLAGS, *HARDENED, *ext.extra_compile_args, *BINDINGS_FLAGS]
        sources = [*self.together(CUDA_BINDINGS, "cuda_bindings"), *CUDA_REST]
        objects += self.objects(ext, [(source, "cuda", [], flags) for source in sources])
        # The runtime is linked in and stays private: the module needs no CUDA library, and loads without a driver.
        self.compiler.link_shared_object(
            objects,
            self.get_ext_fullpath(ext.name),
            extra_postargs=[
                os.path.join(lib, "libcudart_static.a"),
                "-ldl",
                "-lrt",
                "-lpthread",
                "-Wl,--exclude-libs,ALL",
                *HARDENED_LINK,
            ],
            target_lang="c++",
        )
        print(f"fastdet._cuda: {nvcc}, {' '.join(archs)} and PTX, {time.monotonic() - started:.0f} s")

    def get_outputs(self) -> list[str]:
        return [path for path in super().get_outputs() if os.path.exists(path)]  # the skipped one is none

    def copy_extensions_to_source(self) -> None:
        built = [
            ext
            for ext in self.extensions
            if os.path.exists(os.path.join(self.build_lib, self.get_ext_filename(ext.name)))
        ]
        self.extensions, every = built, self.extensions
        super().copy_extensions_to_source()
        self.extensions = every


class Sdist(sdist):
    """With SOURCE_DATE_EPOCH set, one tree makes one archive: nothing of its time, owner or order is left in it."""

    def make_archive(self, base_name: str, format: str, root_dir=None, base_dir=None, owner=None, group=None) -> str:
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if epoch is None or format != "gztar" or root_dir is not None:
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)

        def plain(item: tarfile.TarInfo) -> tarfile.TarInfo:
            item.mtime, item.uid, item.gid, item.uname, item.gname = int(epoch), 0, 0, "", ""
            item.mode = 0o755 if item.isdir() or item.mode & 0o100 else 0o644
            return item

        path = f"{base_name}.tar.gz"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", 9, file, int(epoch)) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=plain)  # in the order of names
        return path


@functools.lru_cache(maxsize=1)
def sources_hash() -> bytes:
    files = sorted([*Path("csrc").rglob("*.*"), Path(__file__)])
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).digest()


def kept_object(name: str, source: str, *made_by: object) -> str | None:
    """Where FASTDET_OBJECTS keeps an object of these very sources and flags; None where it is not set."""
    folder = os.environ.get("FASTDET_OBJECTS")
    if not folder:
        return None
    made = repr((name, source, made_by, [os.environ.get(variable) for variable in COMPILER])).encode()
    key = hashlib.sha256(sources_hash() + made).hexdigest()[:16]
    return os.path.join(folder, f"{name}-{Path(source).stem}-{key}.o")


def keep_object(target: str, kept: str | None) -> None:
    if kept:
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        shutil.copyfile(target, f"{kept}.{os.getpid()}")
        os.replace(f"{kept}.{os.getpid()}", kept)


def nvcc_command(nvcc: str, source: str, target: str, archs: list[str]) -> list[str]:
    codes = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    codes.append("-gencode=arch=compute_75,code=compute_75")
    return [nvcc, "-c", source, "-o", target, *NVCC_FLAGS, *codes]


def find_nvcc() -> str | None:
    """CUDA_HOME's, else the PATH's, else that of NVIDIA's packages on PyPI, else the usual place's."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    for home in homes:
        if os.access(path := os.path.join(home, "bin", "nvcc"), os.X_OK):
            return path
    if homes:
        raise SystemExit(f"CUDA_HOME is {homes[0]}, but it holds no bin/nvcc")
    packages = [
        p for folder in sys.path for p in sorted(glob.glob(os.path.join(folder, "nvidia", "cu*", "bin", "nvcc")))
    ]
    for path in (shutil.which("nvcc"), *packages, "/usr/local/cuda/bin/nvcc"):
        if path and os.access(path, os.X_OK):
            return path
    return None


def cuda_folders(nvcc: str) -> tuple[str, str]:
    """The folders of cuda_runtime.h and libcudart_static.a. nvcc knows its home, also where it is a script."""
    told = subprocess.run([nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=True).stderr
    home = next(line.split("TOP=", 1)[1].strip() for line in told.splitlines() if "TOP=" in line)
    places = [home, *glob.glob(os.path.join(home, "targets", "*"))]
    found = []
    for kinds, name in ((("include",), "cuda_runtime.h"), (("lib", "lib64"), "libcudart_static.a")):
        paths = [os.path.join(place, kind) for place in places for kind in kinds]
        here = [path for path in paths if os.path.exists(os.path.join(path, name))]
        if not here:
            raise SystemExit(f"{name} is not beside {nvcc}: looked in {', '.join(paths)}")
        found.append(here[0])
    return found[0], found[1]


extension = Pybind11Extension(
    "fastdet._cpp",
    sources=[*LOOPS, *BINDINGS, *REST],
    include_dirs=["csrc"],
    cxx_std=17,
    extra_link_args=["-pthread"] if os.name != "nt" else [],
)
# The kernels are not for setuptools to compile.
cuda = Pybind11Extension(
    "fastdet._cuda", sources=[*CUDA_BINDINGS, *CUDA_REST], include_dirs=["csrc"], cxx_std=17, language="c++"
)

if __name__ == "__main__":  # tests/cuda_spills.py takes flags and files from here
    setup(ext_modules=[extension, cuda], cmdclass={"build_ext": BuildExt, "sdist": Sdist})
