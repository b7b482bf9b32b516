"""The extensions and every compile flag, here and nowhere else. Metadata is in pyproject.toml.

Files of csrc that hold loops are compiled once per instruction set, the rest once; csrc/isa.cpp chooses at run time.
fastdet._cuda is built where nvcc is found: kernels (*.cu) by nvcc, its module by the C++ compiler.

    FASTDET_SANITIZE=address,undefined   build with these sanitizers (see tests/sanitize.sh)
    FASTDET_CUDA=auto|0|1                build fastdet._cuda: where there is an nvcc (default), never, or else fail
    FASTDET_CUDA_ARCHS="75 90"           the GPUs to compile for; by default 90 ("auto") or CUDA_ARCHS (1)
"""

import glob
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pybind11
from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

LOOPS = [
    "csrc/boxes/box_iou_loops.cpp",
    "csrc/losses/box_losses_loops.cpp",
    "csrc/segmentation/confusion_matrix_loops.cpp",
    "csrc/losses/softmax_losses_loops.cpp",
    "csrc/nms/nms_loops.cpp",
    "csrc/pool/max_pool2d_loops.cpp",
    "csrc/pool/max_unpool2d_loops.cpp",
    "csrc/losses/sigmoid_focal_loss_loops.cpp",
    "csrc/nms/soft_nms_loops.cpp",
    "csrc/core/table.cpp",
    "csrc/upsample/upsample_bilinear_loops.cpp",
    "csrc/upsample/upsample_bilinear_backward_loops.cpp",
    "csrc/yolo/yolo_candidates_loops.cpp",
]
REST = [
    "csrc/losses/box_losses.cpp",
    "csrc/boxes/transforms.cpp",
    "csrc/files/coco_json.cpp",
    "csrc/segmentation/confusion_matrix.cpp",
    "csrc/detection/detection.cpp",
    "csrc/fusion/fusion.cpp",
    "csrc/nms/grid.cpp",
    "csrc/core/isa.cpp",
    "csrc/losses/softmax_losses.cpp",
    "csrc/core/memory.cpp",
    "csrc/losses/module_box_losses.cpp",
    "csrc/files/bindings.cpp",
    "csrc/python/cpp_module.cpp",
    "csrc/detection/bindings.cpp",
    "csrc/losses/bindings.cpp",
    "csrc/pool/bindings.cpp",
    "csrc/segmentation/bindings.cpp",
    "csrc/upsample/bindings.cpp",
    "csrc/yolo/bindings.cpp",
    "csrc/nms/multiclass_nms.cpp",
    "csrc/nms/nms.cpp",
    "csrc/pool/max_pool2d.cpp",
    "csrc/losses/sigmoid_focal_loss.cpp",
    "csrc/core/threads.cpp",
    "csrc/upsample/upsample_bilinear.cpp",
    "csrc/yolo/yolo_candidates.cpp",
]

COMPILER = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS")  # what setuptools takes of the environment

# One rounding everywhere: no contraction of a * b + c, no fast-math.
FLAGS = ["-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"]

CUDA_MODULE = [
    "csrc/python/cuda_module.cpp",
    "csrc/boxes/cuda_bindings.cpp",
    "csrc/fusion/cuda_bindings.cpp",
    "csrc/losses/cuda_bindings.cpp",
    "csrc/nms/cuda_bindings.cpp",
    "csrc/pool/cuda_bindings.cpp",
    "csrc/segmentation/cuda_bindings.cpp",
    "csrc/upsample/cuda_bindings.cpp",
    "csrc/yolo/cuda_bindings.cpp",
]
CUDA_KERNELS = [
    "csrc/boxes/box_iou.cu",
    "csrc/losses/box_losses.cu",
    "csrc/boxes/transforms.cu",
    "csrc/cuda/compact.cu",
    "csrc/segmentation/confusion_matrix.cu",
    "csrc/segmentation/confusion_matrix_from_logits.cu",
    "csrc/losses/dice_loss.cu",
    "csrc/losses/label_count.cu",
    "csrc/losses/softmax_losses.cu",
    "csrc/fusion/merge_boxes.cu",
    "csrc/nms/multiclass_nms.cu",
    "csrc/nms/nms.cu",
    "csrc/nms/nms_rounds.cu",
    "csrc/boxes/order_boxes.cu",
    "csrc/pool/max_pool2d.cu",
    "csrc/pool/max_unpool2d.cu",
    "csrc/losses/sigmoid_focal_loss.cu",
    "csrc/nms/soft_nms.cu",
    "csrc/cuda/sort.cu",
    "csrc/upsample/upsample_bilinear.cu",
    "csrc/upsample/upsample_bilinear_backward.cu",
    "csrc/fusion/weighted_boxes_fusion.cu",
    "csrc/yolo/yolo_candidates.cu",
]
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
    """Compiles the loops once per instruction set, several files at a time."""

    def build_extension(self, ext: Pybind11Extension) -> None:
        if ext.name == "fastdet._cuda":
            self.build_cuda(ext)
        else:
            self.build_cpp(ext)

    def is_current(self, target: str, source: str, ext: Pybind11Extension) -> bool:
        """Whether an object of an earlier build is newer than all that it was made from."""
        newest = max(map(os.path.getmtime, [source, "setup.py", *ext.depends]))
        return not self.force and os.path.exists(target) and os.path.getmtime(target) > newest

    def objects(self, ext: Pybind11Extension, jobs: list[tuple]) -> list[str]:
        """Compiles what is not current of jobs (sources, name, macros, flags); each set of flags has its own folder."""

        def compile_one(job: tuple) -> str:
            source, name, macros, flags = job
            made_by = (macros, flags, pybind11.__version__, [os.environ.get(key) for key in COMPILER])
            folder = os.path.join(self.build_temp, f"{name}-{zlib.crc32(repr(made_by).encode()):08x}")
            (target,) = self.compiler.object_filenames([source], output_dir=folder)
            if not self.is_current(target, source, ext):
                self.compiler.compile(
                    [source],
                    output_dir=folder,
                    macros=[*ext.define_macros, *macros],
                    include_dirs=ext.include_dirs,
                    extra_postargs=flags,
                    depends=ext.depends,
                )
            return target

        each = [(source, *rest) for sources, *rest in jobs for source in sources]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(compile_one, each))

    def build_cpp(self, ext: Pybind11Extension) -> None:
        sanitize = os.environ.get("FASTDET_SANITIZE", "")
        flags = [*FLAGS, *ext.extra_compile_args]
        if sanitize:
            flags += [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]
            ext.extra_link_args.append(f"-fsanitize={sanitize}")
        flags += shlex.split(os.environ.get("FASTDET_CXXFLAGS", ""))
        listed = ("FASTDET_ISA_LIST", " ".join(f"X({isa})" for isa in ISAS))
        jobs = [(REST, "common", [listed], flags)]
        jobs += [(LOOPS, isa, [("FASTDET_ISA", isa)], [*flags, *extra]) for isa, extra in ISAS.items()]
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
        folder = os.path.join(self.build_temp, "cuda-" + "-".join(archs))
        os.makedirs(folder, exist_ok=True)
        started = time.monotonic()

        def compile_kernels(source: str) -> str:
            target = os.path.join(folder, source + ".o")
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if not self.is_current(target, source, ext):
                subprocess.run(nvcc_command(nvcc, source, target, archs), check=True)
            return target

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = list(pool.map(compile_kernels, CUDA_KERNELS))
        ext.include_dirs.append(include)
        objects += self.objects(ext, [(CUDA_MODULE, "cuda", [], [*FLAGS, *ext.extra_compile_args])])
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


HEADERS = sorted(glob.glob("csrc/**/*.h", recursive=True))
extension = Pybind11Extension(
    "fastdet._cpp",
    sources=LOOPS + REST,
    depends=HEADERS,
    include_dirs=["csrc"],
    cxx_std=17,
    extra_link_args=["-pthread"] if os.name != "nt" else [],
)

cuda = Pybind11Extension(
    "fastdet._cuda", sources=CUDA_MODULE, depends=HEADERS, include_dirs=["csrc"], cxx_std=17, language="c++"
)  # CUDA_KERNELS are not for setuptools to compile

if __name__ == "__main__":  # tests/cuda_spills.py takes flags and files from here
    setup(ext_modules=[extension, cuda], cmdclass={"build_ext": BuildExt})
