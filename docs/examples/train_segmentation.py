r"""Train a network of fastdet.models on CamVid or on the cell membranes of ISBI 2012, score it, draw its predictions.

    python docs/examples/train_segmentation.py ../shared/data/camvid_240x180 runs/segnet_basic --model segnet_basic
    python docs/examples/train_segmentation.py ../shared/data/isbi2012_membrane runs/unet --model unet --width 0.25 \
        --crop 188 --turns --balance 0

Your own data: train/images, train/labels, val/images and val/labels with RGB or grey images of one size, and for each a
label map (PNG, TIFF, BMP or NPY) of the same name with class numbers from 0; 255, or the number after the last class,
is void. --map says what other numbers mean (masks of 0 and 255: --map mask), --palette what colours mean. classes.txt
has a name in each line; without it the classes are CamVid's.

An interrupted run goes on from its last epoch when it is called again. Its folder gets checkpoint.pt, result.json and
predictions.png; segment_images.py applies it to images of any size. Options of the network: --option norm=true
--option upsampling=nearest.
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
from matplotlib.patches import Patch
from PIL import Image, PngImagePlugin
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional as F

from fastdet.label_maps import read_label_map
from fastdet.losses import cross_entropy, focal_loss, median_frequency_weights
from fastdet.models import MODELS
from fastdet.pool import max_pool2d
from fastdet.segmentation import SegmentationMetrics

CAMVID = ["Sky", "Building", "Pole", "Road", "Pavement", "Tree"]
CAMVID += ["SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"]
DENSE = sorted(name for name in MODELS if name.startswith(("deeplab", "fcn", "hrnet", "pspnet", "segnet", "unet")))
VOID = 255
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 30  # images may carry long texts
BORDER = 3  # pixels: the maximum distance of a boundary pixel from another class


class Data(NamedTuple):
    """Images (N, H, W, C) uint8 and their labels (N, H, W) uint8, VOID where the class is unknown."""

    images: Any
    labels: Any


def read(folder: Path, mapping: str | None, palette: str | None) -> tuple[Data, Data, list[str]]:
    """Training data, validation data and the names of the classes. ``mapping``, ``palette``: as of read_label_map."""
    if (folder / "train").is_dir():
        names = folder / "classes.txt"
        try:
            classes = names.read_text(encoding="utf-8-sig").split("\n") if names.exists() else CAMVID
        except UnicodeDecodeError:
            raise SystemExit(f"{names}: must be UTF-8 text") from None
        classes = [name.strip() for name in classes if name.strip()]
        if not 1 <= len(classes) <= VOID or len(set(classes)) < len(classes):
            raise SystemExit(f"{names}: must hold 1 to {VOID} distinct names, one a line, got {len(classes)}")
        if not names.exists():
            print(f"{names} is missing: the classes are CamVid's {len(CAMVID)}, {', '.join(CAMVID)}")
        parts = []
        for part in ("train", "val"):
            data = pictures(folder / part / "images", folder / part / "labels", mapping, palette)
            last = data.labels == len(classes)
            if last.any():
                print(f"{folder / part}: {last.sum():,} pixels of label {len(classes)}, after the last class, are void")
            labels = np.where(last, VOID, data.labels)
            invalid = np.unique(labels[((labels < 0) | (labels >= len(classes))) & (labels != VOID)])
            if invalid.size:
                more = sorted({*invalid.tolist(), *([len(classes)] if last.any() else [])})
                raise SystemExit(f"{folder / part}: labels {few(more)} of {len(classes)} classes{hint(labels)}")
            parts.append(Data(data.images, labels.astype(np.uint8)))
        return parts[0], parts[1], classes
    if not (folder / "image").is_dir():
        raise SystemExit(f"{folder}: neither train/ and val/ nor image/ and label/ are in it")
    images, labels = pictures(folder / "image", folder / "label", mapping or "mask", palette)
    labels = labels.astype(np.uint8)
    last = len(images) * 4 // 5  # neighbouring sections look alike, so the end of the stack is held back
    return Data(images[:last], labels[:last]), Data(images[last:], labels[last:]), ["membrane", "cell"]


def few(numbers: list[int]) -> str:
    return str(numbers) if len(numbers) <= 12 else f"{str(numbers[:12])[:-1]}, ...]"


def hint(labels: Any) -> str:
    """What to do about labels 0 and 255 alone, which may be a mask."""
    return ": if 255 is class 1 of a mask, --map mask" if set(np.unique(labels).tolist()) <= {0, VOID} else ""


def pictures(images: Path, labels: Path, mapping: str | None, palette: str | None) -> Data:
    """The images of one folder and the labels of another, matched by name."""
    found = []
    for folder in (images, labels):
        if not folder.is_dir():
            raise SystemExit(f"{folder}: no such folder")
        paths = sorted((path for path in folder.iterdir() if path.name[0] != "."), key=lambda path: path.stem)
        if not paths:
            raise SystemExit(f"{folder}: the folder is empty")
        found.append(paths)
    photos = [picture(path) for path in found[0]]
    for path, photo in zip(found[0], photos, strict=True):
        kinds = [f"{'RGB' if x.ndim == 3 else 'L'} {x.shape[1]} x {x.shape[0]}" for x in (photos[0], photo)]
        if kinds[0] != kinds[1]:
            raise SystemExit(f"{path}: must be L or RGB and as the first, {kinds[0]}; got {kinds[1]}")
    stems = [[path.stem for path in paths] for paths in found]
    if stems[0] != stems[1] or len(set(stems[0])) < len(stems[0]):
        alone = sorted(set(stems[0]) ^ set(stems[1])) or ["a name that comes twice"]
        raise SystemExit(f"{images} and {labels} must hold the same names, but for {alone[0]}")
    maps = []
    for path in found[1]:
        try:
            maps.append(read_label_map(path, mapping=mapping, palette=palette, ignore_index=VOID))
        except (ValueError, OSError) as error:
            raise SystemExit(f"{path}: {str(error).removeprefix(f'read_label_map: {path}: ')}") from None
        if maps[-1].shape != photos[0].shape[:2]:
            size, got = photos[0].shape[:2], maps[-1].shape
            raise SystemExit(f"{path}: must be as large as the images, {size}, got {got}")
    stack = np.stack(photos)
    return Data(stack[..., None] if stack.ndim == 3 else stack, np.stack(maps))


def picture(path: Path) -> Any:
    """An image as (H, W) or (H, W, 3) uint8. A palette image is its colours, not its numbers."""
    try:
        with Image.open(path) as image:
            if image.mode in ("P", "1"):
                image = image.convert("RGB" if image.mode == "P" else "L")
            if image.mode not in ("L", "RGB"):
                got = f"{image.mode} {image.width} x {image.height}"
                raise SystemExit(f"{path}: must be L or RGB of 8 bits, or a palette image, got {got}")
            return np.array(image)
    except (OSError, ValueError) as error:  # ValueError: a damaged PNG
        raise SystemExit(f"{path}: {error}") from None


def build(name: str, classes: int, channels: int, width: float, settings: list[str]) -> torch.nn.Module:
    options: dict[str, Any] = {"in_channels": channels, "width": width}
    for item in settings:
        key, _, value = item.partition("=")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    unknown = options.keys() - inspect.signature(MODELS[name]).parameters.keys()
    if unknown:
        raise SystemExit(f"{name} has no option {', '.join(sorted(unknown))}")
    try:
        return MODELS[name](classes, **options)
    except (TypeError, ValueError) as error:
        raise SystemExit(f"--option: {error}") from None


def logits_of(network: Any, x: Any) -> list[Any]:
    """Logits of every pixel, and in training those of an auxiliary head; valid convolutions get a mirrored border."""
    height, width = x.shape[-2:]
    margin = getattr(network, "margin", 0)
    if margin:
        down, right = (network.fitting(side) - 2 * margin - side for side in (height, width))
        x = F.pad(x, (margin, margin + right, margin, margin + down), mode="reflect")
    out = network(x)
    return [y[..., :height, :width] for y in (out if isinstance(out, tuple) else (out,))]


def batches(data: Data, size: int, crop: int, turns: bool, rng: Any) -> Any:
    """Batches of an epoch in random order: random crops of ``crop`` pixels (0: none), turned; half are mirrored."""
    order = rng.permutation(len(data.images))
    for at in range(0, len(order) - size + 1, size):
        chosen = []
        for i in order[at : at + size]:
            image, label = data.images[i], data.labels[i]
            if crop:
                y, x = (int(rng.integers(0, side - min(crop, side) + 1)) for side in label.shape)
                image, label = (z[y : y + crop, x : x + crop] for z in (image, label))
            if turns:
                quarters = int(rng.integers(4))
                image, label = (np.rot90(z, quarters) for z in (image, label))
            if rng.random() < 0.5:
                image, label = image[:, ::-1], label[:, ::-1]
            chosen.append((image, label))
        images, labels = (np.ascontiguousarray(np.stack(z)) for z in zip(*chosen, strict=True))
        yield torch.from_numpy(images), torch.from_numpy(labels)


def inputs(images: Any, mean: Any, spread: Any, device: str) -> Any:
    x = (images.to(device).float() - mean.to(device)) / spread.to(device)
    return x.permute(0, 3, 1, 2).contiguous()


def loss_of(name: str, logits: Any, target: Any, weight: Any) -> Any:
    weight = weight.to(logits.device)
    if name == "focal":
        return focal_loss(logits, target, weight, ignore_index=VOID)
    return cross_entropy(logits, target, weight, ignore_index=VOID)


def near_boundary(labels: Any) -> Any:
    """A mask of the pixels that have another class within `BORDER` pixels."""
    window: Any = {"stride": 1, "padding": BORDER, "return_indices": False}
    signed = np.where(labels == VOID, -1, labels).astype(np.int16)
    return max_pool2d(signed, 2 * BORDER + 1, **window) != -max_pool2d(-signed, 2 * BORDER + 1, **window)


def evaluate(network: Any, data: Data, classes: list[str], scaling: Any) -> tuple[dict[str, Any], Any]:
    """Figures of all pixels, of pixels near a boundary and of a constant prediction; and the predictions."""
    network.eval()
    whole, edges, largest = (SegmentationMetrics(len(classes), ignore_index=VOID) for _ in range(3))
    predictions = []
    constant = np.bincount(data.labels[data.labels != VOID]).argmax()
    for image, label in zip(data.images, data.labels, strict=True):
        with torch.no_grad():
            logits = logits_of(network, inputs(torch.from_numpy(image[None]), *scaling))[0]
        predicted = logits.argmax(1).to(torch.uint8).cpu().numpy()[0]
        whole.update(predicted, label)
        edges.update(predicted, np.where(near_boundary(label), label, VOID))
        largest.update(np.full_like(label, constant), label)
        predictions.append(predicted)
    figures = {name: figures_of(metrics) for name, metrics in (("all", whole), ("boundary", edges))}
    figures["largest class everywhere"] = figures_of(largest)
    figures["iou"] = {name: float(x) for name, x in zip(classes, whole.compute()["iou"], strict=True)}
    return figures, predictions


def figures_of(metrics: SegmentationMetrics) -> dict[str, float]:
    computed = metrics.compute()
    return {name: float(computed[name]) for name in ("mean_iou", "mean_class_accuracy", "pixel_accuracy")}


def draw(path: Path, data: Data, predictions: Any, classes: list[str], count: int = 4) -> None:
    """Draw image, truth and prediction of a few images."""
    chosen = np.linspace(0, len(predictions) - 1, count).astype(int)
    figure = Figure(figsize=(12, 3.2 * count), layout="constrained")
    for row, i in zip(figure.subplots(count, 3, squeeze=False), chosen, strict=True):
        truth = np.where(data.labels[i] == VOID, np.nan, data.labels[i])
        row[0].imshow(data.images[i].squeeze(), cmap="gray")
        for ax, labels in ((row[1], truth), (row[2], predictions[i])):
            shown = ax.imshow(labels, cmap="tab20", vmin=-0.5, vmax=19.5, interpolation="nearest")
        for ax, title in zip(row, ("image", "truth", "prediction"), strict=True):
            ax.set_title(f"{title} {i}", loc="left")
            ax.set_axis_off()
    colours = [shown.cmap(shown.norm(i)) for i in range(len(classes))]
    figure.legend([Patch(color=x) for x in colours], classes, loc="outside lower center", ncols=6)
    figure.savefig(path, dpi=80)


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
        ignored, before = ("threads", "device"), state["settings"]
    except Exception as error:
        raise SystemExit(f"{path}: no checkpoint of this script: {str(error).splitlines()[0]}") from None
    changed = [x for x in settings if x not in ignored and before.get(x) != settings[x]]
    if state.get("classes", classes) != classes:
        changed.append("list of classes")
    if changed:
        raise SystemExit(f"{path} was made with another {', '.join(changed)}: choose another folder")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["epoch"], state["seconds"], state["history"]


def check_sides(network: Any, sides: set[int], model: str) -> None:
    """Raise SystemExit for images that are too small for the mirrored border of a network of valid convolutions."""
    for side in sorted(sides) if getattr(network, "margin", 0) else ():
        mirrored = network.fitting(side) - network.margin - side
        if mirrored >= side:
            raise SystemExit(
                f"{model} needs {mirrored} mirrored pixels around images or crops of {side}: they must be larger, "
                "or padded=true, or depth smaller"
            )


def train_epoch(
    network: Any, data: Data, weight: Any, scaling: Any, optimiser: Any, schedule: Any, args: argparse.Namespace,
    epoch: int, done: Any,
) -> float:  # fmt: skip
    """Train for one epoch; ``done`` is called with each step's loss. The mean loss."""
    torch.manual_seed(args.seed + epoch + 1)  # for dropout: the same after a restart
    network.train()
    rng, losses = np.random.default_rng([args.seed, epoch]), []
    for images, labels in batches(data, args.batch, args.crop, args.turns, rng):
        main_logits, *others = logits_of(network, inputs(images, *scaling))
        labels = labels.to(args.device)
        loss = loss_of(args.loss, main_logits, labels, weight)
        for logits in others:
            loss = loss + 0.4 * loss_of(args.loss, logits, labels, weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"the loss is {losses[-1]} in epoch {epoch + 1}")
        done(losses[-1])
    return float(np.mean(losses))


def train(
    network: Any, data: Data, classes: list[str], scaling: Any, args: argparse.Namespace, settings: dict[str, Any]
) -> tuple[float, list[float]]:
    """Train, or go on from the checkpoint, and save one after each epoch. Seconds, and the mean loss of each epoch."""
    counts = np.stack([np.bincount(x[x != VOID], minlength=len(classes)) for x in data.labels])
    weight = torch.from_numpy(median_frequency_weights(counts) ** args.balance).float()
    optimiser = torch.optim.AdamW(network.parameters(), args.rate, weight_decay=1e-4)
    steps = len(data.images) // args.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: (1 - i / (steps * args.epochs + 1)) ** 0.9)
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

            history.append(train_epoch(network, data, weight, scaling, optimiser, schedule, args, epoch, done))
            seconds += time.perf_counter() - start
            state = {key: x.state_dict() for key, x in parts.items()}
            state |= {"epoch": epoch + 1, "seconds": seconds, "history": history, "settings": settings}
            mean, spread, _ = scaling
            state |= {"mean": mean, "spread": spread, "classes": classes}  # segment_images.py needs these
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
    parser.add_argument("--model", choices=DENSE, default="segnet_basic")
    parser.add_argument("--width", type=float, default=1.0, help="factor on the channels")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the network")
    parser.add_argument(
        "--map", metavar="NAME|PAIRS|FILE", help="what the numbers of label maps mean, as of fastdet miou"
    )
    parser.add_argument("--palette", metavar="NAME|FILE", help="what the colours of label maps mean, likewise")
    parser.add_argument("--crop", type=int, default=0, help="side of random crops in training, pixels; 0: whole images")
    parser.add_argument("--turns", action="store_true", help="random quarter turns, for images without an up and down")
    parser.add_argument("--images", type=int, help="maximum number for training and for validation, for a quick try")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate at the start; it falls to 0")
    parser.add_argument("--loss", choices=("cross_entropy", "focal"), default="cross_entropy")
    parser.add_argument("--balance", type=float, default=1.0, help="exponent of the class weights; 0: equal weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    return parser.parse_args()


def check_arguments(args: argparse.Namespace) -> None:
    """Raise SystemExit for numbers out of range, a device that is not there, an output that is no folder."""
    least = {"crop": 0, "images": 1, "epochs": 1, "threads": 0, "seed": 0}
    for name, low in least.items():
        value = getattr(args, name)
        if value is not None and value < low:
            raise SystemExit(f"--{name} must be {low} or more, got {value}")
    for name in ("width", "rate"):
        if not 0 < getattr(args, name) < math.inf:
            raise SystemExit(f"--{name} must be above 0, got {getattr(args, name)}")
    if not 0 <= args.balance < math.inf:
        raise SystemExit(f"--balance must be 0 or more, got {args.balance}")
    check_device(args.device)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"{args.out}: must be a folder, or a new one: {error.strerror}") from None


def check_device(device: str) -> None:
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SystemExit(f"--device {device} cannot be used: {str(error).splitlines()[0]}") from None


def check_labels(data: Data, val: Data, classes: list[str], folder: Path) -> list[str]:
    """The names of classes without a training pixel, which are printed. SystemExit where nothing can be learned."""
    for part, labels in (("training", data.labels), ("validation", val.labels)):
        if not labels.size:
            raise SystemExit(f"{folder}: must hold {part} images, got none")
        if (labels == VOID).all():
            raise SystemExit(f"{folder}: every {part} pixel is void{hint(labels)}")
    counts = np.bincount(data.labels[data.labels != VOID], minlength=len(classes))
    if (counts > 0).sum() == 1:
        only = classes[int(counts.argmax())]
        raise SystemExit(f"{folder}: only class {only} has training pixels: nothing to learn{hint(data.labels)}")
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if absent:
        print(f"without a training pixel, so never learned: {', '.join(absent)}")
    return absent


def try_step(network: Any, data: Data, val: Data, scaling: Any, args: argparse.Namespace) -> None:
    """One step of a copy of the network: what cannot be trained or scored raises SystemExit before the work."""
    images, labels = next(batches(data, args.batch, args.crop, args.turns, np.random.default_rng(args.seed)))
    trial = copy.deepcopy(network)
    try:
        for logits in logits_of(trial.train(), inputs(images, *scaling)):
            loss_of(args.loss, logits, labels.to(args.device), torch.ones(logits.shape[1])).backward(retain_graph=True)
        with torch.no_grad():
            logits_of(trial.eval(), inputs(torch.from_numpy(val.images[:1]), *scaling))
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


def main() -> None:
    args = parse()
    check_arguments(args)
    if args.threads:
        torch.set_num_threads(args.threads)

    data, val, classes = read(args.data, args.map, args.palette)
    data, val = (Data(*(x[: args.images] for x in part)) for part in (data, val))
    absent = check_labels(data, val, classes, args.data)
    if not 0 < args.batch <= len(data.images):
        raise SystemExit(f"--batch must be in [1, {len(data.images)}], the number of images, got {args.batch}")
    sides = [min(args.crop or side, side) for side in data.labels.shape[1:]]
    if args.turns and sides[0] != sides[1]:
        raise SystemExit(f"--turns needs squares, got {sides[0]} x {sides[1]} pixels: see --crop")
    pixels = data.images.reshape(-1, data.images.shape[-1])
    mean, spread = (torch.tensor(x, dtype=torch.float32) for x in (pixels.mean(0), pixels.std(0)))
    spread[spread == 0] = 1  # a constant channel
    scaling = (mean, spread, args.device)

    torch.manual_seed(args.seed)
    network = build(args.model, len(classes), data.images.shape[-1], args.width, args.option).to(args.device)
    check_sides(network, {*sides, *val.labels.shape[1:]}, args.model)
    try_step(network, data, val, scaling, args)
    settings = {key: str(x) if isinstance(x, Path) else x for key, x in vars(args).items()}
    seconds, history = train(network, data, classes, scaling, args, settings)

    figures, predictions = evaluate(network, val, classes, scaling)
    parameters = sum(x.numel() for x in network.parameters())
    result = {"settings": settings, "parameters": parameters, "training_seconds": round(seconds, 1), "loss": history}
    result |= {"classes_without_training_pixels": absent, "validation": figures}
    (args.out / "result.json").write_text(json.dumps(plain(result), indent=1, allow_nan=False))
    draw(args.out / "predictions.png", val, predictions, classes)
    for name in ("all", "boundary", "largest class everywhere"):
        print(f"{name}: " + ", ".join(f"{key} {x:.4f}" for key, x in figures[name].items()))


if __name__ == "__main__":
    main()
