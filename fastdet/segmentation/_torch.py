"""Confusion matrices as ops of torch's dispatcher. Counts have no gradient."""

from __future__ import annotations

from typing import Any

import torch

from fastdet import segmentation
from fastdet._core import check
from fastdet._core.label_images import as_labels
from fastdet._core.torch_library import backend_name, define, detached, tensor
from fastdet.segmentation import _check
from fastdet.segmentation.matrix import VOID


def _matrix(like: Any, classes: int, ignore_index: Any, void: str) -> Any:
    more = ignore_index is not None
    rows, columns = int(more and void == "count"), int(more and void != "drop")
    return like.new_empty((classes + rows, classes + columns), dtype=torch.int64)


_confusion_matrix = define(
    "confusion_matrix(Tensor target, Tensor prediction, int num_classes, int? ignore_index, str void, str? backend)"
    " -> Tensor",
    segmentation.confusion_matrix,
    lambda target, prediction, num_classes, ignore_index, void, backend: _matrix(
        target, num_classes, ignore_index, void
    ),
)
_confusion_matrix_from_logits = define(
    "confusion_matrix_from_logits(Tensor target, Tensor logits, int? ignore_index, str void, SymInt[]? size,"
    " bool align_corners, str? backend) -> Tensor",
    segmentation.confusion_matrix_from_logits,
    lambda target, logits, ignore_index, void, *rest: _matrix(target, logits.shape[-3], ignore_index, void),
    half=True,
)


def _ignored(op: str, x: Any) -> Any:
    """``ignore_index``, checked. The dispatcher passes integers as int64, so larger ones raise ValueError."""
    x = _check.ignored(op, x)
    if x is not None and x >= 2**63:
        raise ValueError(f"{op}: ignore_index must fit in int64 where torch compiles or transforms the call, got {x}")
    return x


def confusion_matrix(
    target: Any, prediction: Any, num_classes: Any, ignore_index: Any = None, void: Any = "miss", backend: Any = None
) -> Any:
    op = "confusion_matrix"
    return _confusion_matrix(
        tensor(op, "target", as_labels(op, "target", target)),
        tensor(op, "prediction", as_labels(op, "prediction", prediction)),
        _check.class_count(op, num_classes),
        _ignored(op, ignore_index),
        check.choice(op, "void", void, VOID),
        backend_name(op, backend),
    )


def confusion_matrix_from_logits(
    target: Any,
    logits: Any,
    ignore_index: Any = None,
    void: Any = "miss",
    size: Any = None,
    align_corners: Any = False,
    backend: Any = None,
) -> Any:
    op = "confusion_matrix_from_logits"
    if size is not None:
        size = list(size if torch.compiler.is_compiling() else _check.image_size(op, "size", size))
    return _confusion_matrix_from_logits(
        tensor(op, "target", as_labels(op, "target", target)),
        detached(op, "logits", logits),
        _ignored(op, ignore_index),
        check.choice(op, "void", void, VOID),
        size,
        bool(align_corners),
        backend_name(op, backend),
    )
