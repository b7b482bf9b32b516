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
rest=(csrc/losses/box_losses.cpp csrc/boxes/transforms.cpp csrc/segmentation/confusion_matrix.cpp csrc/nms/grid.cpp csrc/core/isa.cpp csrc/losses/softmax_losses.cpp csrc/core/memory.cpp csrc/nms/nms.cpp csrc/pool/max_pool2d.cpp csrc/losses/sigmoid_focal_loss.cpp csrc/core/threads.cpp csrc/upsample/upsample_bilinear.cpp)
loops=(csrc/boxes/box_iou_loops.cpp csrc/losses/box_losses_loops.cpp csrc/segmentation/confusion_matrix_loops.cpp csrc/losses/softmax_losses_loops.cpp csrc/nms/nms_loops.cpp csrc/pool/max_pool2d_loops.cpp csrc/pool/max_unpool2d_loops.cpp csrc/losses/sigmoid_focal_loss_loops.cpp csrc/nms/soft_nms_loops.cpp csrc/core/table.cpp csrc/upsample/upsample_bilinear_loops.cpp csrc/upsample/upsample_bilinear_backward_loops.cpp csrc/yolo/yolo_candidates_loops.cpp)
one=(-DFASTDET_ISA=baseline "-DFASTDET_ISA_LIST=X(baseline)")
g++ "${flags[@]}" "${one[@]}" tests/arm64/answers.cpp "${rest[@]}" "${loops[@]}" -o "$work/here" -pthread
aarch64-linux-gnu-g++ -static "${flags[@]}" "${one[@]}" tests/arm64/answers.cpp "${rest[@]}" "${loops[@]}" -o "$work/arm" -pthread
here=$("$work/here") there=$(qemu-aarch64-static "$work/arm")
echo "here:  $here"
echo "arm64: $there"
[ "$here" = "$there" ]
