#!/usr/bin/env bash
# The C++ loops on arm64 (NEON) under emulation: the same answers as on this x86-64 machine, to the last bit.
# Needs g++-aarch64-linux-gnu and qemu-user-static (Debian's names); says so where they are missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in aarch64-linux-gnu-g++ qemu-aarch64-static; do
    command -v "$tool" >/dev/null || { echo "arm64: not run: $tool is not installed"; exit 0; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(-O3 -std=c++17 -ffp-contract=off -Wall -Wextra -Icsrc)
mapfile -t loops < <(find csrc -name '*_loops.cpp')
mapfile -t rest < <(find csrc -name '*.cpp' ! -name '*_loops.cpp' ! -name '*bindings.cpp' ! -path 'csrc/python/*' ! -path 'csrc/cuda/*')
one=(-DFASTDET_ISA=baseline "-DFASTDET_EACH_ISA(X,...)=X(baseline,__VA_ARGS__)")
g++ "${flags[@]}" "${one[@]}" tests/arm64/answers.cpp "${rest[@]}" "${loops[@]}" -o "$work/here" -pthread
aarch64-linux-gnu-g++ -static "${flags[@]}" "${one[@]}" tests/arm64/answers.cpp "${rest[@]}" "${loops[@]}" -o "$work/arm" -pthread
here=$("$work/here") there=$(qemu-aarch64-static "$work/arm")
echo "here:  $here"
echo "arm64: $there"
[ "$here" = "$there" ]
