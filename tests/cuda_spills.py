"""Compile every CUDA kernel for every architecture and fail where one spills registers or keeps a stack: python
tests/cuda_spills.py [architecture ...]

Needs nvcc, setuptools and pybind11 (setup.py has the flags); no GPU. Without arguments those that wheels are built for.
With FASTDET_OBJECTS the objects are kept for a build: see setup.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'")
USED = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


def main(archs: list[str]) -> int:
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    import setup

    nvcc = setup.find_nvcc()
    if nvcc is None:
        print("cuda_spills: there is no nvcc", file=sys.stderr)
        return 1
    archs = archs or setup.CUDA_ARCHS.split()

    def report(source: str, folder: str) -> str:
        command = setup.nvcc_command(nvcc, source, f"{folder}/{source.replace('/', '-')}.o", archs)
        done = subprocess.run([*command, "-Xptxas=-v"], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{source}: {done.stderr}")
        setup.keep_object(command[command.index("-o") + 1], setup.kept_object("cuda", source, archs))
        return done.stderr

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        texts = list(pool.map(lambda source: report(source, folder), setup.CUDA_KERNELS))
    kernels, bad = 0, []
    for text in texts:
        name = arch = ""
        for line in text.splitlines():
            if entry := ENTRY.search(line):
                name, arch = entry.groups()
            used = USED.search(line)
            if used and "fastdet" in name:  # not CUB's own
                kernels += 1
                if any(map(int, used.groups())):
                    bad.append(f"{name} for {arch}: {used.group()}")
    print(f"{kernels} kernels for {', '.join(archs)}: {len(bad)} spill or keep a stack")
    print("\n".join(bad))
    return 1 if bad or not kernels else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
