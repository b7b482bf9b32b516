"""Apply a network that train_segmentation.py trained to images of any size, tile by tile; write label maps as PNG.

    python docs/examples/segment_images.py runs/unet scan.png labels --tile 388
    python docs/examples/segment_images.py runs/unet ../shared/data/camvid_240x180/val/images labels
    fastdet miou ../shared/data/camvid_240x180/val/labels labels --classes 11 --ignore 11

A tile is computed with a margin around it, mirrored at the image's border. A U-Net without padding has a margin with
which the result is exactly that of the whole image. The other networks pad: their tiles get zeros where the image goes
on, and a wider --margin reduces the effect.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from train_segmentation import Once, build, check_device, inputs, picture

from fastdet.inference import overlap_tile

Image.MAX_IMAGE_PIXELS = None  # allows scans of a billion pixels
STRIDE = 32  # pixels, a multiple of all networks' strides: tiles that begin at its multiples share one pooling grid


class Segmenter:
    """A trained network as a function from an image (H, W, C) or (H, W) uint8 to its labels (H, W) uint8."""

    def __init__(self, run: Path, tile: int, margin: int, device: str) -> None:
        try:
            state = torch.load(run / "checkpoint.pt", map_location=device)
            self.mean, self.spread = state["mean"], state["spread"]
        except Exception as error:
            said = str(error).splitlines()[0]
            raise SystemExit(f"{run / 'checkpoint.pt'}: no checkpoint of train_segmentation.py: {said}") from None
        settings = state["settings"]
        self.device = device
        self.channels, classes = len(self.mean), len(state["classes"])
        network = build(settings["model"], classes, self.channels, settings["width"], settings["option"])
        network.load_state_dict(state["network"])
        self.network: Any = network.to(device).eval()
        if getattr(network, "margin", 0):  # valid convolutions
            self.tiles = self.network.tiling(tile)
        else:
            whole = -(-tile // STRIDE) * STRIDE
            self.tiles = {"tile": whole, "margin": -(-margin // STRIDE) * STRIDE}

    def labels(self, batch: Any) -> Any:
        """Labels of a batch of tiles (n, h, w, C)."""
        with torch.no_grad():
            logits = self.network(inputs(torch.from_numpy(batch), self.mean, self.spread, self.device))
        return logits.argmax(1, keepdim=True).permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()

    def __call__(self, image: Any) -> Any:
        if image.ndim == 3 and self.channels == 1 and (image == image[..., :1]).all():  # grey, as a palette image
            image = image[..., 0]
        image = image[..., None] if image.ndim == 2 else image
        if image.shape[2] != self.channels or image.dtype != np.uint8:
            raise ValueError(f"image must have {self.channels} channels of uint8, got {image.shape}, {image.dtype}")
        return overlap_tile(self.labels, image, **self.tiles, channels_last=True)[..., 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.register("action", None, Once)
    parser.add_argument("run", type=Path, help="folder of a run of train_segmentation.py")
    parser.add_argument("images", type=Path, help="an image, or a folder of images")
    parser.add_argument("out", type=Path, help="folder for the label maps, NAME.png for each image")
    parser.add_argument("--tile", type=int, default=256, help="minimum side of a tile, pixels")
    parser.add_argument(
        "--margin", type=int, default=64, help="minimum margin around a tile of networks that pad, pixels"
    )
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.tile < STRIDE or args.margin < 0:
        raise SystemExit(f"--tile must be {STRIDE} or more and --margin 0 or more, got {args.tile} and {args.margin}")
    if not (args.run / "checkpoint.pt").is_file():
        raise SystemExit(f"no such file: {args.run / 'checkpoint.pt'}")
    check_device(args.device)
    paths = [args.images]
    if args.images.is_dir():
        paths = sorted(path for path in args.images.iterdir() if path.is_file() and path.name[0] != ".")
    names = [path.stem for path in paths]
    if not names or len(set(names)) < len(names):
        raise SystemExit(f"{args.images}: must hold images with distinct names, got {len(names)} files")
    segment = Segmenter(args.run, args.tile, args.margin, args.device)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"{args.out}: must be a folder, or a new one: {error.strerror}") from None
    for path in track(paths, f"{len(paths)} images, tiles of {segment.tiles['tile']}"):
        try:
            labels = segment(picture(path))
        except ValueError as error:
            raise SystemExit(f"{path}: {error}") from None
        part = args.out / f"{path.stem}.part"
        Image.fromarray(labels).save(part, "png")
        os.replace(part, args.out / f"{path.stem}.png")


if __name__ == "__main__":
    main()
