"""Train the small YOLO behind `fastdet demo` on drawn streets, and write its output for streets it was not trained on.

    python docs/examples/train_demo.py fastdet/cli/sample.npz

About ten minutes on one core. The file gets the network's raw output for each held-out scene in YOLO v8's form (cx cy
w h in pixels and a score for each class, for every cell), the true boxes, and the seeds that draw the scenes. No scene
is chosen by hand: the seeds are the next ones after those of training.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

from fastdet.boxes import box_convert
from fastdet.cli.sample import units
from fastdet.cli.scenes import NAMES, SIZE, Scene, draw, make
from fastdet.losses import ciou_loss, sigmoid_focal_loss

STRIDE = 8  # pixels of a cell
CENTRAL = 0.25  # a cell is assigned to an object within this share of its sides from its centre


class Detector(nn.Module):
    """A box and class scores for each cell: (N, 3, 128, 192) in [0, 1] to (N, 4 + C, 384)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs, stride, dilation in (
            *((width, 2, 1), (2 * width, 2, 1), (4 * width, 2, 1)),
            *((4 * width, 1, 1), (4 * width, 1, 2), (4 * width, 1, 3), (4 * width, 1, 1)),
        ):
            layers.append(nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False))
            layers += [nn.BatchNorm2d(outputs), nn.SiLU(inplace=True)]
            inputs = outputs
        self.head = nn.Conv2d(inputs, 4 + len(NAMES), 1)
        nn.init.constant_(self.head.bias[4:], -math.log(99))  # few cells have an object
        self.features = nn.Sequential(*layers)
        self.register_buffer("cells", torch.from_numpy(cells()))

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (N, 384, 4) as cx cy w h in pixels, and logits (N, 384, C)."""
        offsets, sides, logits = self.head(self.features(x)).flatten(2).transpose(1, 2).split([2, 2, len(NAMES)], 2)
        return torch.cat([self.cells + STRIDE * offsets, 4 * STRIDE * sides.clamp(max=4).exp()], 2), logits

    def forward(self, x: Tensor) -> Tensor:
        boxes, logits = self.parts(x)
        return torch.cat([boxes, logits.sigmoid()], 2).transpose(1, 2)


def cells() -> Any:
    """The centres of the cells, (384, 2) float32: x y, pixels, row by row."""
    y, x = np.mgrid[STRIDE / 2 : SIZE[0] : STRIDE, STRIDE / 2 : SIZE[1] : STRIDE]
    return np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)


def owners(boxes: Any) -> Any:
    """The object assigned to each cell, (384,) int64, or -1: the nearest, measured in units of the object's sides."""
    if not len(boxes):
        return np.full(len(cells()), -1)
    form = box_convert(boxes, "xyxy", "cxcywh")
    distance = np.abs(cells()[:, None] - form[:, :2]) / form[:, 2:]
    distance = distance.max(2)
    nearest = distance.argmin(1)
    owner = np.where(distance.min(1) <= CENTRAL, nearest, -1)
    owner[distance.argmin(0)] = np.arange(len(boxes))  # every object gets a cell, however small
    return owner


def inputs(images: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def mirrored(image: Any, boxes: Any) -> tuple[Any, Any]:
    return image[:, ::-1], np.stack([SIZE[1] - boxes[:, 2], boxes[:, 1], SIZE[1] - boxes[:, 0], boxes[:, 3]], 1)


def loss_of(network: Detector, batch: list[tuple[Any, Any, Any]]) -> Tensor:
    """Focal loss of the classes plus CIoU loss of the boxes, for a batch of (image, boxes, labels)."""
    predicted, logits = network.parts(inputs(np.stack([image for image, _, _ in batch])))
    target = torch.zeros_like(logits)
    true_boxes, own_boxes = [], []
    for i, (_, boxes, labels) in enumerate(batch):
        owner = owners(boxes)
        owned = np.flatnonzero(owner >= 0)
        target[i, owned, labels[owner[owned]]] = 1
        true_boxes.append(torch.from_numpy(boxes[owner[owned]]))
        own_boxes.append(predicted[i, owned])
    count = max(sum(map(len, own_boxes)), 1)
    positions = ciou_loss(corners(torch.cat(own_boxes)), torch.cat(true_boxes), reduction="sum")
    return (sigmoid_focal_loss(logits, target, reduction="sum") + 2 * positions) / count


def corners(boxes: Tensor) -> Tensor:
    """`fastdet.boxes.box_convert` with a gradient."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([centre - half, centre + half], 1)


def train(network: Detector, scenes: list[Scene], images: Any, epochs: int, batch: int, rate: float, seed: int) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-3)
    steps = len(scenes) // batch * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, max(steps, 2), pct_start=0.1)
    rng = np.random.default_rng(seed)
    for epoch in track(range(epochs), "training"):
        losses, order = [], rng.permutation(len(scenes))
        for at in range(0, len(scenes) - batch + 1, batch):
            chosen = []
            for i in order[at : at + batch]:
                image, boxes = images[i], scenes[i].boxes
                if rng.random() < 0.5:
                    image, boxes = mirrored(image, boxes)
                chosen.append((image, boxes, scenes[i].labels))
            loss = loss_of(network, chosen)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: mean loss {np.mean(losses):.4f}", flush=True)


@torch.no_grad()
def sample(network: Detector, seeds: range) -> dict[str, Any]:
    """The network's output for scenes in the form of `fastdet.cli.sample`: quarters of a pixel, scores in 1024ths."""
    scenes = [make(seed) for seed in seeds]
    network.eval()
    output = network(inputs(np.stack([draw(scene, seed) for scene, seed in zip(scenes, seeds, strict=True)]))).numpy()
    return {
        "output": np.rint(output * units(len(NAMES))).astype(np.int16),
        "objects": np.concatenate([scene.boxes for scene in scenes]),
        "object_labels": np.concatenate([scene.labels for scene in scenes]).astype(np.uint8),
        "object_counts": np.array([len(scene.labels) for scene in scenes], np.uint8),
        "seeds": np.array(seeds, np.int64),
    }


class Once(argparse.Action):
    """Stores the value of an option; one that is given twice is an error, where argparse drops the first value."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given = vars(parser).setdefault("given", set())
        if option_string is not None and self.dest in given:
            raise SystemExit(f"{option_string} must be given once")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def check_arguments(args: argparse.Namespace) -> None:
    """Raise SystemExit for numbers out of range, and for an output that cannot be written."""
    for name in ("held_out", "epochs", "batch", "threads", "scenes"):
        if getattr(args, name) < 1:
            raise SystemExit(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(args, name)}")
    if args.seed < 0:
        raise SystemExit(f"--seed must be 0 or more, got {args.seed}")
    if args.scenes < args.batch:
        raise SystemExit(f"--batch must be at most --scenes, {args.scenes}, got {args.batch}")
    if not 0 < args.rate < math.inf:
        raise SystemExit(f"--rate must be above 0, got {args.rate}")
    if args.out.is_dir() or not args.out.parent.is_dir():
        raise SystemExit(f"{args.out}: must be a file in an existing folder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.register("action", None, Once)
    parser.add_argument("out", type=Path, help="the file to write, an .npz")
    parser.add_argument("--scenes", type=int, default=1500, help="to train on")
    parser.add_argument("--held-out", type=int, default=20, help="scenes in the file")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=4e-3, help="maximum learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    args = parser.parse_args()
    check_arguments(args)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    network = Detector()
    start = time.process_time()
    scenes = [make(seed) for seed in range(args.scenes)]
    images = np.stack([draw(scene, seed) for seed, scene in enumerate(track(scenes, "drawing"))])
    train(network, scenes, images, args.epochs, args.batch, args.rate, args.seed)
    with args.out.open("wb") as file:
        np.savez_compressed(file, **sample(network, range(args.scenes, args.scenes + args.held_out)))
    parameters = sum(x.numel() for x in network.parameters())
    print(f"{parameters:,} parameters, {time.process_time() - start:.0f} s of one core")
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
