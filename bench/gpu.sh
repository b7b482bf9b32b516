#!/usr/bin/env bash
# Everything that only a GPU can prove, on a machine with nvcc, torch (CuPy where it is) and these sources; no network is
# needed. On a machine that is lent for minutes:
#
#   prepare    before, where there is nvcc: objects and packages that the machine may lack, into build/objects
#   lease OUT  on the machine: all parts with deadlines, and their results in the folder OUT: see bench/lease.py
#
# With more time, each part by itself: bench/gpu.sh build|parity|sanitize|bench
#
#   build      fastdet._cpp and fastdet._cuda, in place, for this machine's GPU
#   parity     the tables of ops on the GPU, by torch and CuPy; graphs, streams, torch.compile, faults
#   sanitize   compute-sanitizer's memcheck, racecheck and synccheck on small sizes of the table
#   bench      medians of fastdet on the CPU and GPU, torchvision and torch, into bench/results/<gpu>.json; arguments go
#              to bench/gpu.py: bench/gpu.sh bench --only nms
#
# PYTHON names the interpreter (python3).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
[[ ${1:-} == prepare || ${1:-} == lease ]] || export FASTDET_REQUIRE_CUDA=1
tests=(-q -p no:cacheprovider -o filterwarnings=default -m "" tests/core/test_cuda_gpu.py)  # its torch may warn of anything

build() {
    local archs
    archs=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d . | sort -u | tr '\n' ' ')
    FASTDET_CUDA=1 FASTDET_CUDA_ARCHS="$archs" "$python" setup.py build_ext --inplace >build/gpu-build.log 2>&1 ||
        { tail -n 40 build/gpu-build.log && return 1; }
    "$python" -c 'import fastdet; fastdet.show_config()'
}

# Objects of an earlier state of the sources go: what is carried is small.
prepare() {
    rm -rf build/objects
    FASTDET_OBJECTS="$PWD/build/objects" FASTDET_CUDA=1 FASTDET_CUDA_ARCHS=90 "$python" setup.py --quiet build_ext \
        --build-temp build/prepared --build-lib build/prepared
    "$python" -m pip install --quiet --no-compile --target build/objects/packages pybind11 setuptools pytest pytest-xdist
    du -sh build/objects
}

parity() { "$python" -m pytest "${tests[@]}"; }

# A tool that this machine refuses (some containers do) is named, and is no failure of the kernels.
sanitize() {
    local tool status=0
    command -v compute-sanitizer >/dev/null || { echo "gpu.sh: no compute-sanitizer on the PATH" >&2; return 1; }
    if ! compute-sanitizer --tool memcheck "$python" -c 'import torch; torch.zeros(1, device="cuda").sum().item()' \
        >build/gpu-sanitizer.log 2>&1; then
        echo "gpu.sh: compute-sanitizer does not work on this machine:" >&2
        tail -n 3 build/gpu-sanitizer.log >&2
        return 2
    fi
    for tool in memcheck racecheck synccheck; do
        echo "== $tool"
        timeout 150 compute-sanitizer --tool "$tool" --error-exitcode 9 --kernel-name kernel_substring=fastdet \
            "$python" -m pytest "${tests[@]}" -k "(test_small or test_images) and not cupy" || status=$?
    done
    return "$status"
}

# The figures to quote, then one round of pytest-benchmark for its histories and groups.
measure() {
    "$python" bench/gpu.py "$@"
    (($#)) || "$python" -m pytest -q -p no:cacheprovider bench/test_bench_gpu.py --benchmark-group-by=group \
        --benchmark-json=build/gpu-pytest-benchmark.json -k "not 1000000"
}

mkdir -p build
case ${1:-} in
    build | parity | sanitize | prepare) "$1" ;;
    bench) measure "${@:2}" ;;
    lease) exec "$python" bench/lease.py "${@:2}" ;;
    *) echo "usage: bench/gpu.sh prepare | lease OUT | build | parity | sanitize | bench [arguments]" >&2 && exit 2 ;;
esac
