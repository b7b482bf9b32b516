#!/usr/bin/env bash
# The C++ under the address and undefined-behaviour sanitizers, through the same tests: tests/sanitize.sh [pytest arguments]
#
# Without arguments: every rule once. FASTDET_SANITIZE_ALL=1: the full products too, which take an hour.
#
# Needs g++ with its sanitizer libraries, and pytest in the Python at hand (PYTHON, or python3); the sources are copied
# and built elsewhere, so that this checkout keeps its own build. Any finding ends the process: the run then fails.
# Leaks are not looked for: CPython keeps memory until its end by design, which would drown one of ours.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/source"
cp -r "$root"/{setup.py,pyproject.toml,README.md,LICENSE,csrc,fastdet} "$work/source"
rm -f "$work"/source/fastdet/*.so
# GCC takes the don't-care operands of its own AVX-512 intrinsics for uninitialised variables: not news.
FASTDET_SANITIZE=address,undefined FASTDET_CXXFLAGS=-Wno-uninitialized \
    "$python" -m pip install --quiet --no-deps --target "$work/site" "$work/source"

# The interpreter is not instrumented: the run-time libraries come first, and that of C++ with them, so that exceptions
# are seen.
preload=""
for library in libasan libubsan libstdc++; do
    path=$(${CXX:-g++} -print-file-name=$library.so)
    [[ $path == /* ]] || { echo "sanitize: $library.so of ${CXX:-g++} is not installed" >&2; exit 1; }
    preload+="$path "
done

# A finding aborts, so that the Python stack is shown too; captured file descriptors would swallow its report. Short
# memory of who allocated what: Python's stacks are deep.
suite() {
    cd "$work"
    env LD_PRELOAD="$preload" PYTHONPATH="$work/site" PYTHONDONTWRITEBYTECODE=1 \
        ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:malloc_context_size=6:quarantine_size_mb=32 \
        UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1 \
        "$python" -m pytest -c "$root/pyproject.toml" -p no:cacheprovider --capture=sys "$@"
}

if (($#)); then
    arguments=()
    for argument in "$@"; do  # the suite runs elsewhere
        [[ ! -e $argument ]] || argument=$(realpath "$argument")
        arguments+=("$argument")
    done
    suite "${arguments[@]}"
    exit
fi
# What runs the C++, in two halves side by side; large inputs are left out: slow here, or compared with Numba, which
# would have to be compiled.
which="not exhaustive and not emulator"
[[ -z ${FASTDET_SANITIZE_ALL:-} ]] || which=""
small=(--quiet -m "$which" -k "not numba and not reference and not 3000 and not 5000 and not 20000 and not 50000 and not memory \
    and not many_classes and not many_mutations and not past_two and not long_rows and not process and not torch and not pycocotools")
tests=$root/tests
suite "${small[@]}" "$tests"/core/test_{parity,array_parity}.py \
    --deselect "$tests/core/test_parity.py::test_threads" \
    --deselect "$tests/core/test_array_parity.py::test_threads" >"$work/half" 2>&1 &
half=$!
other=0
suite "${small[@]}" "$tests"/core/test_{arrays,changing_arrays,native_arrays,threads,errors,isas,scalars,cuda,cuda_arrays}.py \
    "$tests"/{boxes,nms,fusion,upsample,pool,losses,segmentation,detection,yolo,masks,keypoints,roi,proposals,rotated,files,coco,fuzz} \
    --deselect "$tests/nms/test_adversarial.py::test_many" --deselect "$tests/detection/test_growth.py" || other=$?
wait "$half" || other=$?
cat "$work/half"
suite --quiet "$tests/core/test_tensors.py" || other=$?  # by itself: it imports torch, and then every op looks for tensors
exit "$other"
