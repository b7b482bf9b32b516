"""Quantise a trained network to int8 by ONNX Runtime (static, QDQ); its score, latency and size before and after.

    python docs/examples/quantize.py runs/segnet ../shared/data/camvid_240x180 runs/segnet/int8
    python docs/examples/quantize.py runs/ssd ../shared/data/bccd runs/ssd/int8

The run is a folder of train_segmentation.py or of train_detector.py, the data those that it was trained on. The network
is exported to ONNX, calibrated on training images, and scored on the validation or test images: mIoU and pixel
accuracy, or AP and AP50, by the same functions as in training. The folder gets float32.onnx, int8.onnx and result.json.

Weights are int8 for each channel, activations uint8. CPUs without VNNI add two products in 16 bits, which can overflow:
weights of 7 bits (the default) cannot; --full-range takes 8.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import train_detector
import train_segmentation
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.table import Table

OPS = ["Conv", "ConvTranspose", "MaxPool", "Relu", "Resize", "Concat", "Add"]  # the others stay in float32


class Run:
    """A session in the network's place: what is asked of the network beside a call is the network's."""

    def __init__(self, session: Any, network: Any) -> None:
        self.session, self.network = session, network

    def __call__(self, x: Any) -> Any:
        outputs = [torch.from_numpy(y) for y in self.session.run(None, {"image": x.numpy()})]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def eval(self) -> Run:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)


class Record(Run):
    """The network, with a list of what it was called with."""

    def __init__(self, network: Any) -> None:
        super().__init__(None, network)
        self.inputs: list[Any] = []

    def __call__(self, x: Any) -> Any:
        self.inputs.append(x)
        return self.network(x)


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs of the network, one after the other, for the calibration."""

    def __init__(self, inputs: list[Any]) -> None:
        self.inputs = iter(inputs)

    def get_next(self) -> Any:
        x = next(self.inputs, None)
        return None if x is None else {"image": x.numpy()}


class Segmentation:
    """A run of train_segmentation.py and its data: ``score(network, images)`` gives the figures of the table."""

    def __init__(self, state: Any, data: Path) -> None:
        settings = state["settings"]
        train, val, self.classes = train_segmentation.read(data, settings["map"], settings["palette"])
        self.parts = {"train": train, "val": val}
        channels = train.images.shape[-1]
        self.network = train_segmentation.build(
            settings["model"], len(self.classes), channels, settings["width"], settings["option"]
        )
        self.network.load_state_dict(state["network"])
        self.scaling = (state["mean"], state["spread"], "cpu")

    def score(self, network: Any, part: str, images: int | None) -> dict[str, float]:
        data = train_segmentation.Data(*(x[:images] for x in self.parts[part]))
        figures, _ = train_segmentation.evaluate(network, data, self.classes, self.scaling)
        return {"mIoU": figures["all"]["mean_iou"], "pixel accuracy": figures["all"]["pixel_accuracy"]}


class Detection:
    """A run of train_detector.py and its data, likewise."""

    def __init__(self, state: Any, data: Path) -> None:
        settings = state["settings"]
        opened = train_detector.open_data(data, None)
        self.detector = train_detector.Detector(
            settings["model"], len(opened[0].category_names), settings["width"], settings["option"]
        )
        self.network = self.detector.network
        self.network.load_state_dict(state["network"])
        train, test, self.classes = train_detector.read(data, self.detector.side, None, opened)
        self.parts = {"train": train, "val": test}

    def score(self, network: Any, part: str, images: int | None) -> dict[str, float]:
        self.detector.network = network
        metrics, _ = train_detector.evaluate(self.detector, self.parts[part][:images], "cpu")
        figures = train_detector.figures_of(metrics["nms"], self.classes)
        return {"AP": figures["map"], "AP50": figures["map_50"]}


def export(network: Any, x: Any, path: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():  # torch's own
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (x,), str(path), dynamo=False, opset_version=17, input_names=["image"])


def quantise(source: Path, target: Path, inputs: list[Any], full_range: bool) -> None:
    prepared = target.with_suffix(".part")
    quant_pre_process(str(source), str(prepared), skip_optimization=True, skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(target),
        Reader(inputs),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=OPS,
        per_channel=True,
        reduce_range=not full_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    prepared.unlink()


def session_of(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def latencies(sessions: dict[str, Any], x: Any, repeats: int) -> dict[str, float]:
    """Median milliseconds of a call with one image, all in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for i in range(repeats + 2):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {"image": x.numpy()})
            if i >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - start)
    return {name: round(float(np.median(values)) * 1e3, 3) for name, values in seconds.items()}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run of train_segmentation.py or train_detector.py")
    parser.add_argument("data", type=Path, help="the data of the run")
    parser.add_argument("out", type=Path, help="folder for the ONNX files and result.json")
    parser.add_argument("--calibration", type=int, default=64, help="maximum number of training images for it")
    parser.add_argument("--images", type=int, help="maximum number of images to score, for a quick try")
    parser.add_argument("--repeats", type=int, default=50, help="calls that are timed")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime")
    parser.add_argument("--full-range", action="store_true", help="weights of 8 bits, for CPUs with VNNI")
    return parser.parse_args()


def open_run(run: Path, data: Path) -> Any:
    path = run / "checkpoint.pt"
    if not path.is_file():
        raise SystemExit(f"no such file: {path}")
    try:
        state = torch.load(path, map_location="cpu")
        name = state["settings"]["model"]
    except Exception as error:
        raise SystemExit(f"{path}: no checkpoint of a training script: {str(error).splitlines()[0]}") from None
    if name in train_segmentation.DENSE:
        return name, Segmentation(state, data)
    if name in train_detector.MODEL_NAMES:
        return name, Detection(state, data)
    raise SystemExit(f"{path}: the model must segment or detect, got {name}")


def main() -> None:
    args = parse()
    for option in ("calibration", "images", "repeats", "threads"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise SystemExit(f"--{option} must be 1 or more, got {value}")
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    name, task = open_run(args.run, args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    network = task.network.eval()

    record = Record(network)
    task.score(record, "train", args.calibration)
    paths = {kind: args.out / f"{kind}.onnx" for kind in ("float32", "int8")}
    export(network, record.inputs[0], paths["float32"])
    quantise(paths["float32"], paths["int8"], record.inputs, args.full_range)

    sessions = {kind: session_of(path, args.threads) for kind, path in paths.items()}
    result: dict[str, Any] = {
        kind: task.score(Run(session, network), "val", args.images) for kind, session in sessions.items()
    }
    times = latencies(sessions, record.inputs[0], args.repeats)
    size = "x".join(map(str, record.inputs[0].shape[2:]))
    table = Table(title=f"{name}, images of {size}, {args.threads} thread{'s' * (args.threads > 1)} of ONNX Runtime")
    columns = ["", *result["float32"], "ms an image", "MB"]
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    for kind, figures in result.items():
        megabytes = round(paths[kind].stat().st_size / 1e6, 3)
        table.add_row(kind, *(f"{x:.4f}" for x in figures.values()), f"{times[kind]:.2f}", f"{megabytes:.2f}")
        figures |= {"milliseconds": times[kind], "megabytes": megabytes}
    Console(width=100).print(table)
    result |= {
        "model": name,
        "calibration_images": len(record.inputs),
        "seconds": round(time.perf_counter() - start, 1),
    }
    (args.out / "result.json").write_text(json.dumps(train_segmentation.plain(result), indent=1, allow_nan=False))


if __name__ == "__main__":
    main()
