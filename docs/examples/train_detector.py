"""Train YOLOv1 (tiny), SSD300 or Faster R-CNN on blood cells (BCCD), score it with hard and Soft-NMS, draw the result.

    python docs/examples/train_detector.py ../shared/data/bccd runs/yolo --model yolov1_tiny --width 0.5 --option grid=9
    python docs/examples/train_detector.py ../shared/data/bccd runs/ssd --model ssd300 --width 0.25 --option norm=true
    python docs/examples/train_detector.py ../shared/data/bccd runs/faster --model faster_rcnn --width 0.125

Your own data, in VOC's folders: Annotations/NAME.xml, JPEGImages/NAME.jpg (or .png, .bmp, .tif, .webp), and
ImageSets/Main with trainval.txt and test.txt, a NAME in each line. Its classes are those of the XML files.

It trains on the images of trainval.txt and scores those of test.txt. An interrupted run goes on from its
last epoch when it is called again. Its folder gets checkpoint.pt, result.json, curves.png and detections.png.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import json
import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fastdet import inference, plots
from fastdet._files.voc import read_voc
from fastdet.boxes import box_convert
from fastdet.detection import DetectionMetrics
from fastdet.models import MODELS, ssd_encode, ssd_loss, yolo_encode, yolo_loss
from fastdet.models.yolo import STRIDE
from fastdet.nms import batched_nms, batched_soft_nms

MODEL_NAMES = ("faster_rcnn", "ssd300", "yolov1", "yolov1_tiny")
MIN_SCORE = 0.01  # candidates of this score or a lower one are dropped
MAX_DETECTIONS = 100  # of an image
# Faster R-CNN without pretrained weights, on small images: fewer proposals, smaller anchors, batch normalisation. It
# leaves NMS to this script.
SMALL_FASTER: dict[str, Any] = {
    "norm": "batch",
    "min_size": 256,
    "max_size": 256,
    "anchor_sizes": (16, 32, 64, 128, 256),
    "samples": 128,
    "rpn": {"candidates": (500, 300), "kept": (300, 200), "samples": 128},
    "score_threshold": MIN_SCORE,
    "iou_threshold": 1.0,
    "max_output": 2000,
}
IMAGES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp")
COLOUR_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 30  # images may carry long texts


class Sample(NamedTuple):
    """An image at the network's input size, and its true boxes there."""

    name: str
    image: Any  # (side, side, 3) uint8
    boxes: Any  # (N, 4) float32, pixels of the network's image, x1 y1 x2 y2
    labels: Any  # (N,) int64


def open_data(folder: Path, max_images: int | None) -> tuple[Any, dict[str, list[str]], dict[str, Path]]:
    """The annotations of a folder, the image names of each part, and the image files by name. SystemExit."""
    for needed in ("Annotations", "ImageSets/Main", "JPEGImages"):
        if not (folder / needed).is_dir():
            raise SystemExit(f"{folder}: must hold Annotations, ImageSets/Main and JPEGImages, got no {needed}")
    try:
        data = read_voc(folder / "Annotations")
    except ValueError as error:
        raise SystemExit(str(error)) from None
    files: dict[str, Path] = {}
    for path in sorted((folder / "JPEGImages").iterdir()):
        if path.suffix.lower() in IMAGES and path.name[0] != ".":
            if path.stem in files:
                raise SystemExit(
                    f"{path.parent}: must hold one image a name, got {files[path.stem].name} and {path.name}"
                )
            files[path.stem] = path
    parts: dict[str, list[str]] = {}
    known = set(data.image_names)
    for part in ("trainval", "test"):
        listed = folder / "ImageSets" / "Main" / f"{part}.txt"
        if not listed.is_file():
            raise SystemExit(f"no such file: {listed}")
        try:
            lines = [line.strip() for line in listed.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise SystemExit(f"{listed}: must be UTF-8 text") from None
        names = [line if line in known else line.split()[0] for line in lines][:max_images]
        for name in names:
            if name not in known or name not in files:
                lack = "JPEGImages" if name in known else "Annotations"
                raise SystemExit(f"{listed}: {name} is not in {lack}")
        if not names:
            raise SystemExit(f"{listed}: must name images, one a line, got none")
        parts[part] = names
    if not len(data.category_names):
        raise SystemExit(f"{folder / 'Annotations'}: must hold objects, got none")
    return data, parts, files


def read(
    folder: Path, side: int, max_images: int | None, opened: Any = None
) -> tuple[list[Sample], list[Sample], list[str]]:
    """Training samples, test samples and the names of the classes. Boxes without area are reported and left out."""
    data, parts, files = opened or open_data(folder, max_images)
    at = {name: i for i, name in enumerate(data.image_names)}
    result = []
    for names in parts.values():
        samples = []
        for name in names:
            rows = data.truth.image == data.images[at[name]]
            boxes, labels = data.truth.boxes[rows], np.searchsorted(data.categories, data.truth.label[rows])
            empty = (boxes[:, 2:] <= 0).any(1)
            for box in boxes[empty]:
                print(f"{name}: a box without area is left out: x, y, width, height {box.tolist()}")
            corners = box_convert(boxes[~empty] + np.array([-1, -1, 1, 1]), "xywh", "xyxy")  # 1-based, last one inside
            try:
                with Image.open(files[name]) as picture:
                    if picture.mode not in COLOUR_MODES:
                        raise SystemExit(f"{files[name]}: must have 8 bits a channel, got mode {picture.mode}")
                    corners *= np.array([side / picture.width, side / picture.height] * 2)
                    image = np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
            except (OSError, ValueError) as error:  # ValueError: a damaged PNG
                raise SystemExit(f"{files[name]}: {error}") from None
            samples.append(Sample(name, image, corners.clip(0, side).astype(np.float32), labels[~empty]))
        result.append(samples)
    return result[0], result[1], list(data.category_names)


def check_samples(train: list[Sample], test: list[Sample], classes: list[str]) -> list[str]:
    """The names of classes without a training box, which are printed. SystemExit where nothing can be learned."""
    labels = [np.concatenate([sample.labels for sample in samples]) for samples in (train, test)]
    for part, found in zip(("training", "test"), labels, strict=True):
        if not len(found):
            raise SystemExit(f"no {part} image has a box: nothing to {'learn' if part == 'training' else 'score'}")
    absent = [name for i, name in enumerate(classes) if i not in labels[0]]
    if absent:
        print(f"without a training box, so never learned: {', '.join(absent)}")
    return absent


class Detector:
    """A network with what differs between YOLO, SSD and Faster R-CNN: the image's side, targets, loss, decoding."""

    def __init__(self, name: str, classes: int, width: float, settings: list[str]) -> None:
        self.kind = {"faster_rcnn": "faster", "ssd300": "ssd"}.get(name, "yolo")
        options: dict[str, Any] = {"width": width} | (SMALL_FASTER if self.kind == "faster" else {})
        for item in settings:
            key, _, value = item.partition("=")
            try:
                options[key] = json.loads(value)
            except json.JSONDecodeError:
                options[key] = value
        unknown = options.keys() - inspect.signature(MODELS[name]).parameters.keys()
        if unknown:
            raise SystemExit(f"{name} has no option {', '.join(sorted(unknown))}")
        self.classes = classes
        try:
            self.network: Any = MODELS[name](classes, **options)
            self.side = self.side_of(options)
        except (TypeError, ValueError) as error:
            raise SystemExit(f"--option: {error}") from None

    def side_of(self, options: dict[str, Any]) -> int:
        """Height and width of the network's images."""
        if self.kind == "faster":
            return int(options["min_size"])
        return 300 if self.kind == "ssd" else STRIDE * int(self.network.grid)

    def target(self, boxes: Any, labels: Any) -> tuple[Any, ...]:
        size = (self.side, self.side)
        if self.kind == "faster":
            return torch.from_numpy(boxes), torch.from_numpy(labels) + 1
        if self.kind == "ssd":
            return ssd_encode(boxes, labels, self.network.priors.cpu(), size, classes=self.classes)
        grid, predictors = self.network.grid, self.network.predictors
        return (yolo_encode(boxes, labels, size, grid=grid, predictors=predictors, classes=self.classes),)

    def loss(self, samples: list[Sample], device: str) -> Any:
        """The loss of a batch."""
        targets = [self.target(sample.boxes, sample.labels) for sample in samples]
        images = inputs([sample.image for sample in samples], device)
        if self.kind == "faster":
            moved = [{"boxes": boxes.to(device), "labels": labels.to(device)} for boxes, labels in targets]
            return sum(self.network(in_unit(images), moved).values())
        target = [torch.stack(x).to(device) for x in zip(*targets, strict=True)]
        if self.kind == "ssd":
            return ssd_loss(*self.network(images), *target)
        return yolo_loss(self.network(images), *target, predictors=self.network.predictors)

    def candidates(self, image: Any, device: str) -> tuple[Any, Any, Any]:
        """Boxes, scores and labels of one image, one row for each box and class with a score above `MIN_SCORE`."""
        size, images = (self.side, self.side), inputs([image], device)
        if self.kind == "faster":
            found = {key: x.cpu().numpy() for key, x in self.network(in_unit(images))[0].items()}
            return found["boxes"], found["scores"], found["labels"] - 1
        if self.kind == "ssd":
            decoded = inference.ssd_decode(*self.network(images), self.network.priors, size=size)
        else:
            decoded = inference.yolo_decode(self.network(images), self.network.predictors, size=size)
        boxes, scores = (x[0].cpu().numpy() for x in decoded)
        row, label = np.nonzero(scores > MIN_SCORE)
        return boxes[row].clip(0, self.side), scores[row, label], label


def varied(sample: Sample, rng: Any) -> Sample:
    """Augment a sample: a random part of at least 0.7 of each side, stretched; mirrored; darker or lighter."""
    side = len(sample.image)
    image, boxes = sample.image, sample.boxes.copy()
    share = rng.uniform(0.7, 1, 2)
    width, height = (int(x) for x in share * side)
    x, y = int(rng.integers(0, side - width + 1)), int(rng.integers(0, side - height + 1))
    part = Image.fromarray(image[y : y + height, x : x + width]).resize((side, side), Image.Resampling.BILINEAR)
    boxes = (boxes - np.array([x, y, x, y])) * np.array([side / width, side / height] * 2)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    boxes = boxes.clip(0, side)
    inside = ((centre > 0) & (centre < side)).all(1) & (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
    image, boxes, labels = np.asarray(part), boxes[inside], sample.labels[inside]
    if rng.random() < 0.5:
        image, boxes = image[:, ::-1], boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [side, 0, side, 0]
    if rng.random() < 0.5:
        image, boxes = image[::-1], boxes[:, [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, side, 0, side]
    light = rng.uniform(0.8, 1.2)
    image = np.minimum(image * light, 255).astype(np.uint8)
    return Sample(sample.name, image, boxes.astype(np.float32), labels)


def inputs(images: Any, device: str) -> Any:
    x = torch.from_numpy(np.ascontiguousarray(np.stack(images))).to(device)
    return x.permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


def in_unit(x: Any) -> Any:
    """Values of [-1, 1] in [0, 1], which Faster R-CNN normalises itself."""
    return (x + 1) / 2


def evaluate(detector: Detector, samples: list[Sample], device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics with hard NMS and with Soft-NMS, and the detections of each."""
    detector.network.eval()
    metrics = {name: DetectionMetrics() for name in ("nms", "soft_nms")}
    kept: dict[str, list[Any]] = {name: [] for name in metrics}
    for sample in samples:
        with torch.no_grad():
            boxes, scores, labels = detector.candidates(sample.image, device)
        hard = batched_nms(boxes, scores, labels, 0.5)[:MAX_DETECTIONS]
        soft, rescored = (x[:MAX_DETECTIONS] for x in batched_soft_nms(boxes, scores, labels, method="gaussian"))
        target = {"boxes": sample.boxes, "labels": sample.labels}
        for name, keep, kept_scores in (("nms", hard, scores[hard]), ("soft_nms", soft, rescored)):
            detections = {"boxes": boxes[keep], "scores": kept_scores, "labels": labels[keep]}
            metrics[name].update([detections], [target])
            kept[name].append(detections)
    return metrics, kept


def draw(out: Path, samples: list[Sample], metrics: Any, kept: Any, classes: list[str]) -> None:
    """Draw curves of precision over recall, and true boxes and detections of a few images."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    for ax, (name, metric) in zip(figure.subplots(1, len(metrics)), metrics.items(), strict=True):
        metric.plot(ax=ax)
        ax.set_title(name, loc="left")
    figure.savefig(out / "curves.png", dpi=80)
    chosen = np.linspace(0, len(samples) - 1, 3).astype(int)
    figure = Figure(figsize=(11, 5.2 * len(chosen)), layout="constrained")
    for row, i in zip(figure.subplots(len(chosen), 2, squeeze=False), chosen, strict=True):
        sample, detections = samples[i], kept["nms"][i]
        shown = detections["scores"] > 0.3
        columns = (
            (f"{sample.name}: true boxes", sample.boxes, sample.labels, None),
            ("detections with a score > 0.3", *(detections[key][shown] for key in ("boxes", "labels", "scores"))),
        )
        for ax, (title, boxes, labels, scores) in zip(row, columns, strict=True):
            ax.imshow(sample.image)
            plots.draw_boxes(boxes, labels, scores, names=classes, ax=ax)
            ax.set_title(title, loc="left")
            ax.set_axis_off()
    figure.savefig(out / "detections.png", dpi=80)


def save(path: Path, state: Any) -> None:
    """Write a checkpoint in one step: an interruption leaves the old one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def resume(
    path: Path, parts: dict[str, Any], settings: dict[str, Any], classes: list[str], device: str
) -> tuple[int, float, list[float]]:
    """Load the checkpoint, if there is one: how many epochs are done, their seconds and their mean losses."""
    if not path.exists():
        return 0, 0.0, []
    try:
        state = torch.load(path, map_location=device)
        before = state["settings"]
    except Exception as error:
        raise SystemExit(f"{path}: no checkpoint of this script: {str(error).splitlines()[0]}") from None
    changed = [x for x in settings if x not in ("threads", "device") and before.get(x) != settings[x]]
    if state.get("classes", classes) != classes:
        changed.append("list of classes")
    if changed:
        raise SystemExit(f"{path} was made with another {', '.join(changed)}: choose another folder")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["epoch"], state["seconds"], state["history"]


def train_epoch(
    detector: Detector,
    samples: list[Sample],
    optimiser: Any,
    schedule: Any,
    args: argparse.Namespace,
    epoch: int,
    done: Any,
) -> float:
    """Train for one epoch; ``done`` is called with each step's loss. The mean loss."""
    torch.manual_seed(args.seed + epoch + 1)  # for dropout: the same after a restart
    rng = np.random.default_rng([args.seed, epoch])
    order = rng.permutation(len(samples))
    network, losses = detector.network.train(), []
    for at in range(0, len(order) - args.batch + 1, args.batch):
        batch = [varied(samples[i], rng) for i in order[at : at + args.batch]]
        loss = detector.loss(batch, args.device)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"the loss is {losses[-1]} in epoch {epoch + 1}")
        done(losses[-1])
    return float(np.mean(losses))


def train(
    detector: Detector, samples: list[Sample], classes: list[str], args: argparse.Namespace, settings: dict[str, Any]
) -> tuple[float, list[float]]:
    """Train, or go on from the checkpoint, and save one after each epoch. Seconds, and the mean loss of each epoch."""
    network = detector.network
    optimiser = torch.optim.AdamW(network.parameters(), args.rate, weight_decay=1e-4)
    steps = len(samples) // args.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min((i + 1) / 100, 1) * (1 - i / (steps * args.epochs + 1)) ** 0.9
    )
    parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
    first, seconds, history = resume(args.out / "checkpoint.pt", parts, settings, classes, args.device)
    parameters = sum(x.numel() for x in network.parameters())
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task(f"{args.model}, {parameters:,} parameters", total=steps * args.epochs)
        progress.advance(task, steps * first)
        for epoch in range(first, args.epochs):
            start, name = time.perf_counter(), f"epoch {epoch + 1}/{args.epochs}"

            def done(loss: float, name: str = name) -> None:
                progress.update(task, advance=1, description=f"{name} loss {loss:.3f}")

            history.append(train_epoch(detector, samples, optimiser, schedule, args, epoch, done))
            seconds += time.perf_counter() - start
            state = {key: x.state_dict() for key, x in parts.items()}
            state |= {"epoch": epoch + 1, "seconds": seconds, "history": history, "settings": settings}
            state["classes"] = classes
            save(args.out / "checkpoint.pt", state)
            progress.console.print(f"epoch {epoch + 1}: mean loss {history[-1]:.4f}, {seconds:.0f} s")
    return seconds, history


class Once(argparse.Action):
    """Stores the value of an option; one that is given twice is an error, where argparse drops the first value."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given = vars(parser).setdefault("given", set())
        if option_string is not None and self.dest in given:
            raise SystemExit(f"{option_string} must be given once")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.register("action", None, Once)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("--model", choices=MODEL_NAMES, default="yolov1_tiny")
    parser.add_argument("--width", type=float, default=1.0, help="factor on the channels")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the network")
    parser.add_argument("--images", type=int, help="maximum number for training and for the test, for a quick try")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate at the start; it falls to 0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    return parser.parse_args()


def check_arguments(args: argparse.Namespace) -> None:
    """Raise SystemExit for numbers out of range, a device that is not there, an output that is no folder."""
    for name, low in {"images": 1, "epochs": 1, "threads": 0, "seed": 0}.items():
        value = getattr(args, name)
        if value is not None and value < low:
            raise SystemExit(f"--{name} must be {low} or more, got {value}")
    for name in ("width", "rate"):
        if not 0 < getattr(args, name) < math.inf:
            raise SystemExit(f"--{name} must be above 0, got {getattr(args, name)}")
    try:
        torch.zeros(1, device=args.device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SystemExit(f"--device {args.device} cannot be used: {str(error).splitlines()[0]}") from None
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"{args.out}: must be a folder, or a new one: {error.strerror}") from None


def try_step(detector: Detector, samples: list[Sample], args: argparse.Namespace) -> None:
    """One step of a copy of the network: what cannot be trained or scored raises SystemExit before the work."""
    trial = copy.copy(detector)
    trial.network = copy.deepcopy(detector.network)
    batch = samples[: args.batch]
    trial.network.train()
    try:
        trial.loss(batch, args.device).backward()
        trial.network.eval()
        with torch.no_grad():
            trial.candidates(batch[0].image, args.device)
    except (RuntimeError, ValueError) as error:
        more = ": try --batch 2 or more" if args.batch == 1 else ""
        said = str(error).splitlines()[0]
        raise SystemExit(f"{args.model} cannot be trained with these images and options: {said}{more}") from None


def plain(x: Any) -> Any:
    """For JSON: null instead of NaN and infinity, which JSON has not."""
    if isinstance(x, dict):
        return {key: plain(value) for key, value in x.items()}
    if isinstance(x, list):
        return [plain(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def figures_of(metric: DetectionMetrics, classes: list[str]) -> dict[str, float]:
    """The figures of all classes and of each; NaN for a class without a true box."""
    computed = metric.compute()
    figures = {key: round(float(computed[key]), 4) for key in ("map", "map_50", "map_75", "mar_100")}
    each = dict(zip(np.asarray(computed["classes"]).tolist(), computed["map_per_class"].tolist(), strict=True))
    for i, name in enumerate(classes):
        score = each.get(i, -1.0)
        figures[f"map {name}"] = round(score, 4) if score >= 0 else math.nan  # -1: no true box
    return figures


def main() -> None:
    args = parse()
    check_arguments(args)
    if args.threads:
        torch.set_num_threads(args.threads)

    opened = open_data(args.data, args.images)
    torch.manual_seed(args.seed)
    detector = Detector(args.model, len(opened[0].category_names), args.width, args.option)
    detector.network.to(args.device)
    train_samples, test, classes = read(args.data, detector.side, args.images, opened)
    absent = check_samples(train_samples, test, classes)
    if not 0 < args.batch <= len(train_samples):
        raise SystemExit(f"--batch must be in [1, {len(train_samples)}], the number of images, got {args.batch}")
    try_step(detector, train_samples, args)
    settings = {key: str(x) if isinstance(x, Path) else x for key, x in vars(args).items()}
    seconds, history = train(detector, train_samples, classes, args, settings)

    metrics, kept = evaluate(detector, test, args.device)
    draw(args.out, test, metrics, kept, classes)
    parameters = sum(x.numel() for x in detector.network.parameters())
    result = {"settings": settings, "parameters": parameters, "training_seconds": round(seconds, 1), "loss": history}
    result["classes_without_training_boxes"] = absent
    result["test"] = {name: figures_of(metric, classes) for name, metric in metrics.items()}
    for name, figures in result["test"].items():
        print(f"{name}: " + ", ".join(f"{key} {x:.4f}" for key, x in figures.items()))
    (args.out / "result.json").write_text(json.dumps(plain(result), indent=1, allow_nan=False))


if __name__ == "__main__":
    main()
