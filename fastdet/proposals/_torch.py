"""Region proposals as ops of torch. They have no gradient."""

from __future__ import annotations

from typing import Any

import torch

from fastdet._core.torch_library import (
    backend_name,
    computed,
    count,
    define,
    detached,
    no_batch,
    number,
    tensor,
    unknown_size,
    without_graph,
)
from fastdet.proposals import coder, generate, matching, sampling


def _as_first(x: Any, other: Any, *rest: Any) -> Any:
    return x.new_empty(x.shape, dtype=computed(x, other))


_encode_boxes = define(
    "encode_boxes(Tensor boxes, Tensor anchors, float[] weights, str? backend) -> Tensor",
    coder.encode_boxes,
    _as_first,
)
_decode_boxes = define(
    "decode_boxes(Tensor deltas, Tensor anchors, float[] weights, float max_log_ratio, str? backend) -> Tensor",
    coder.decode_boxes,
    _as_first,
)
_match_boxes = define(
    "match_boxes(Tensor iou, float high, float low, bool allow_low_quality, str? backend) -> Tensor",
    matching.match_boxes,
    lambda iou, *rest: iou.new_empty(iou.shape[1:], dtype=torch.int64),
)


def _sampled(labels: Any, *rest: Any) -> Any:
    return tuple(labels.new_empty((unknown_size(),), dtype=torch.int64) for _ in range(2))


_sample_balanced = define(
    "sample_balanced(Tensor labels, SymInt count, float positive_fraction, SymInt seed, str? backend)"
    " -> (Tensor, Tensor)",
    sampling.sample_balanced,
    _sampled,
    vmap=no_batch("sample_balanced", "call it on each item"),
)


def _proposed(
    scores: Any, deltas: Any, anchors: Any, image_sizes: Any, pre_nms_top_n: Any, post_nms_top_n: Any, *rest: Any
) -> Any:
    images, first = scores[0].shape[0], scores[0]
    dtype = computed(*scores, *deltas)
    smaller: Any = torch.sym_min
    rows = smaller(post_nms_top_n, sum(smaller(pre_nms_top_n, x.shape[1]) for x in scores))
    return (
        first.new_empty((images, rows, 4), dtype=dtype),
        first.new_empty((images, rows), dtype=dtype),
        first.new_empty((images,), dtype=torch.int64),
    )


_generate_proposals = define(
    "generate_proposals(Tensor[] scores, Tensor[] deltas, Tensor[] anchors, Tensor image_sizes, SymInt pre_nms_top_n,"
    " SymInt post_nms_top_n, float iou_threshold, float min_size, float score_threshold, str? backend)"
    " -> (Tensor, Tensor, Tensor)",
    generate.generate_proposals,
    _proposed,
    waits=True,
)


def _weights(op: str, x: Any) -> list[Any]:
    return [number(op, "weights", value) for value in x] if hasattr(x, "__iter__") else [number(op, "weights", x)]


def encode_boxes(x: Any, anchors: Any, weights: Any, backend: Any) -> Any:
    op = "encode_boxes"
    pair = without_graph(op, "boxes", x), without_graph(op, "anchors", anchors)
    return _encode_boxes(*pair, _weights(op, weights), backend_name(op, backend))


def decode_boxes(deltas: Any, anchors: Any, weights: Any, max_log_ratio: Any, backend: Any) -> Any:
    op = "decode_boxes"
    pair = without_graph(op, "deltas", deltas), without_graph(op, "anchors", anchors)
    limit = number(op, "max_log_ratio", max_log_ratio)
    return _decode_boxes(*pair, _weights(op, weights), limit, backend_name(op, backend))


def match_boxes(iou: Any, high: Any, low: Any, allow_low_quality: Any, backend: Any) -> Any:
    op = "match_boxes"
    return _match_boxes(
        detached(op, "iou", iou),
        number(op, "high", high),
        number(op, "low", low),
        bool(allow_low_quality),
        backend_name(op, backend),
    )


def sample_balanced(labels: Any, total: Any, positive_fraction: Any, seed: Any, backend: Any) -> Any:
    op = "sample_balanced"
    return _sample_balanced(
        tensor(op, "labels", labels),
        count(op, "count", total),
        number(op, "positive_fraction", positive_fraction),
        seed if isinstance(seed, torch.SymInt) else sampling.check_seed(op, seed),
        backend_name(op, backend),
    )


def generate_proposals(
    scores: Any,
    deltas: Any,
    anchors: Any,
    image_sizes: Any,
    pre_nms_top_n: Any,
    post_nms_top_n: Any,
    iou_threshold: Any,
    min_size: Any,
    score_threshold: Any,
    backend: Any,
) -> generate.Proposals:
    op = "generate_proposals"
    levels = (
        [detached(op, name, x) for x in xs]
        for name, xs in (("scores", scores), ("deltas", deltas), ("anchors", anchors))
    )
    return generate.Proposals(
        *_generate_proposals(
            *levels,
            _sizes(op, image_sizes),
            count(op, "pre_nms_top_n", pre_nms_top_n),
            count(op, "post_nms_top_n", post_nms_top_n),
            number(op, "iou_threshold", iou_threshold),
            number(op, "min_size", min_size),
            number(op, "score_threshold", score_threshold),
            backend_name(op, backend),
        )
    )


def _sizes(op: str, x: Any) -> Any:
    """Sizes as a tensor; in a call that torch compiles, numbers may be symbols."""
    if torch.compiler.is_compiling() and isinstance(x, (list, tuple)):
        return torch.stack([torch.stack([torch.full((), value) for value in size]) for size in x])
    return tensor(op, "image_sizes", x)
