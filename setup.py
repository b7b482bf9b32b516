"""The extension and every compile flag, here and nowhere else. Metadata is in pyproject.toml.

Files of csrc that hold loops are compiled once per instruction set, the rest once; csrc/isa.cpp chooses at run time.

    FASTDET_SANITIZE=address,undefined   build with these sanitizers (see tests/sanitize.sh)
"""

import os
import platform
import shlex
from concurrent.futures import ThreadPoolExecutor

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

LOOPS = [
    "csrc/box_iou.cpp",
    "csrc/confusion.cpp",
    "csrc/losses.cpp",
    "csrc/nms.cpp",
    "csrc/pool.cpp",
    "csrc/soft_nms.cpp",
    "csrc/table.cpp",
    "csrc/upsample.cpp",
]
REST = [
    "csrc/boxes.cpp",
    "csrc/coco_json.cpp",
    "csrc/confusion_call.cpp",
    "csrc/detection.cpp",
    "csrc/fusion.cpp",
    "csrc/grid.cpp",
    "csrc/isa.cpp",
    "csrc/losses_call.cpp",
    "csrc/memory.cpp",
    "csrc/module_coco.cpp",
    "csrc/module_cpp.cpp",
    "csrc/module_detection.cpp",
    "csrc/module_losses.cpp",
    "csrc/module_pool.cpp",
    "csrc/module_segmentation.cpp",
    "csrc/module_upsample.cpp",
    "csrc/multiclass_nms.cpp",
    "csrc/nms_call.cpp",
    "csrc/pool_call.cpp",
    "csrc/threads.cpp",
    "csrc/upsample_call.cpp",
]

# One rounding everywhere: no contraction of a * b + c, no fast-math.
FLAGS = ["-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"]

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
        sanitize = os.environ.get("FASTDET_SANITIZE", "")
        flags = [*FLAGS, *ext.extra_compile_args]
        if sanitize:
            flags += [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]
            ext.extra_link_args.append(f"-fsanitize={sanitize}")
        flags += shlex.split(os.environ.get("FASTDET_CXXFLAGS", ""))
        listed = ("FASTDET_ISA_LIST", " ".join(f"X({isa})" for isa in ISAS))
        jobs = [(REST, "common", [listed], flags)]
        jobs += [(LOOPS, isa, [("FASTDET_ISA", isa)], [*flags, *extra]) for isa, extra in ISAS.items()]
        compile_jobs = [
            (source, os.path.join(self.build_temp, folder), macros, extra)
            for sources, folder, macros, extra in jobs
            for source in sources
        ]

        def compile_one(job: tuple) -> list[str]:
            source, folder, macros, extra = job
            return self.compiler.compile(
                [source],
                output_dir=folder,
                macros=[*ext.define_macros, *macros],
                include_dirs=ext.include_dirs,
                extra_postargs=extra,
                depends=ext.depends,
            )

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = [path for paths in pool.map(compile_one, compile_jobs) for path in paths]
        self.compiler.link_shared_object(
            objects,
            self.get_ext_fullpath(ext.name),
            extra_postargs=ext.extra_link_args,
            target_lang="c++",
            export_symbols=self.get_export_symbols(ext) if os.name == "nt" else None,
        )


HEADERS = sorted(f"csrc/{name}" for name in os.listdir("csrc") if name.endswith(".h"))
extension = Pybind11Extension(
    "fastdet._cpp",
    sources=LOOPS + REST,
    depends=HEADERS,
    cxx_std=17,
    extra_link_args=["-pthread"] if os.name != "nt" else [],
)

setup(ext_modules=[extension], cmdclass={"build_ext": BuildExt})
