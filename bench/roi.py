"""RoIAlign and its gradient: cases and peers."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from peers import Peer, in_order
from picture_cases import Arrays, Call, Picture, PictureOp, bytes_of

Options = tuple[float, int, bool]


def make_features(shape: tuple[int, ...], count: int, size: int, options: Options) -> Arrays:
    """Maps, a sixteenth of an image in size, boxes with sides of 16 to 500 pixels, a gradient of the result."""
    rng = np.random.default_rng(0)
    scale = options[0]
    edge = np.array([shape[3], shape[2]]) / scale
    centre, side = rng.random((count, 2)) * edge, np.exp(rng.uniform(np.log(16), np.log(500), (count, 2)))
    corners = np.hstack([np.clip(centre - side / 2, 0, edge), np.clip(centre + side / 2, 0, edge)])
    boxes = np.hstack([rng.integers(0, shape[0], (count, 1)), corners]).astype(np.float32)
    return {
        "x": rng.standard_normal(shape, np.float32),
        "boxes": boxes,
        "grad": rng.standard_normal((count, shape[1], size, size), np.float32),
        "size": size,
        "options": options,
    }


def our_align(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.roi").roi_align
    return lambda: op(a["x"], a["boxes"], a["size"], *a["options"], backend=backend)


def our_align_backward(a: Arrays, backend: str | None) -> Call:
    op = import_module("fastdet.roi").roi_align_backward
    return lambda: op(a["grad"], a["boxes"], a["x"].shape, *a["options"], backend=backend)


def torchvision_align(last: bool) -> Callable[[Picture], Call]:
    def make(case: Picture) -> Call:
        op, x, boxes = import_module("torchvision").ops.roi_align, case.tensor("x", last=last), case.tensor("boxes")
        size, options = case.arrays["size"], case.arrays["options"]
        return lambda: op(x, boxes, size, *options)

    return make


def torchvision_align_backward(case: Picture) -> Call:
    import_module("torchvision")
    op = import_module("torch").ops.torchvision._roi_align_backward
    grad, boxes, size = case.tensor("grad"), case.tensor("boxes"), case.arrays["size"]
    scale, ratio, aligned = case.arrays["options"]
    return lambda: op(grad, boxes, scale, size, size, *case.arrays["x"].shape, ratio, aligned)


def onnxruntime_align(case: Picture) -> Call:
    onnx, runtime = import_module("onnx"), import_module("onnxruntime")
    helper, floats, ints = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    a = case.arrays
    scale, ratio, aligned = a["options"]
    node = helper.make_node(
        "RoiAlign", ["x", "rois", "images"], ["y"], output_height=a["size"], output_width=a["size"],
        sampling_ratio=max(ratio, 0), spatial_scale=scale,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )  # fmt: skip
    inputs = [helper.make_tensor_value_info(n, t, None) for n, t in (("x", floats), ("rois", floats), ("images", ints))]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", floats, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=9)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = import_module("torch").get_num_threads()
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"x": a["x"], "rois": np.ascontiguousarray(a["boxes"][:, 1:]), "images": a["boxes"][:, 0].astype(np.int64)}
    return lambda: session.run(None, feed)[0]


CASES: dict[str, tuple[Any, ...]] = {
    "1000x256x7x7, map 50x84, sampling 2": ((1, 256, 50, 84), 1000, 7, (1 / 16, 2, False)),
    "1000x256x7x7, map 50x84, adaptive": ((1, 256, 50, 84), 1000, 7, (1 / 16, -1, True)),
    "100x256x14x14, map 100x168, sampling 2": ((1, 256, 100, 168), 100, 14, (1 / 8, 2, True)),
}
PEERS: dict[str, dict[str, Peer]] = {
    "roi_align": {
        "torchvision": Peer(torchvision_align(False), in_order),
        "torchvision channels_last": Peer(torchvision_align(True), in_order),
        "onnxruntime": Peer(onnxruntime_align, in_order),
    },
    "roi_align_backward": {"torchvision": Peer(torchvision_align_backward, in_order)},
}
OPS: dict[str, PictureOp] = {
    "roi_align": PictureOp(CASES, make_features, our_align, bytes_of("x", "grad"), bytes_of("grad")),
    "roi_align_backward": PictureOp(CASES, make_features, our_align_backward, bytes_of("x", "grad"), bytes_of("x")),
}
SECTIONS = {"roi": [(op, size) for op, row in OPS.items() for size in row.sizes]}
