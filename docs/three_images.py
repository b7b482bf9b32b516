"""Draw raw candidates, final detections and true boxes of a few images, side by side.

    fastdet nms raw_yolox_nano.npz -o final.npz --iou 0.65
    python docs/three_images.py raw_yolox_nano.npz final.npz gt.json three_images.png 211325 539216 579003

The NPZ layout is that of `fastdet nms`; labels are indices into the categories of the COCO JSON file.
"""

import json
import sys

import numpy as np
from matplotlib.figure import Figure

from fastdet import plots
from fastdet.boxes import box_convert

SHOWN = 0.3  # final detections with a score above it are drawn


def main(raw_path: str, final_path: str, truth_path: str, picture: str, *ids: str) -> None:
    raw, final = dict(np.load(raw_path)), dict(np.load(final_path))
    with open(truth_path) as file:
        truth = json.load(file)
    names = [category["name"] for category in truth["categories"]]
    index = {category["id"]: i for i, category in enumerate(truth["categories"])}
    size = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
    figure = Figure(figsize=(18, 4.7 * len(ids)), layout="constrained")
    for row, image in zip(figure.subplots(len(ids), 3, squeeze=False), map(int, ids), strict=True):
        at = int(np.flatnonzero(raw["image_id"] == image)[0])
        a, b = (slice(*x["offsets"][at : at + 2]) for x in (raw, final))
        shown = np.arange(b.start, b.stop)[final["scores"][b] > SHOWN]
        real = [x for x in truth["annotations"] if x["image_id"] == image]
        real_boxes = box_convert(np.array([x["bbox"] for x in real], float).reshape(-1, 4), "xywh", "xyxy")
        columns = (
            (f"{a.stop - a.start} candidates", raw["boxes_xyxy"][a], raw["labels"][a], raw["scores"][a], None),
            (
                f"{b.stop - b.start} kept, {len(shown)} with score > {SHOWN} shown",
                *(final[key][shown] for key in ("boxes_xyxy", "labels", "scores")),
                names,
            ),
            (f"{len(real)} true boxes", real_boxes, np.array([index[x["category_id"]] for x in real]), None, names),
        )
        for ax, (title, boxes, labels, scores, legend) in zip(row, columns, strict=True):
            ax.set(xlim=(0, size[image][0]), ylim=(size[image][1], 0))
            plots.draw_boxes(boxes, labels, scores, names=legend, ax=ax)
            ax.set(xticks=[], yticks=[])
            ax.set_title(f"image {image}: {title}", loc="left")
    figure.savefig(picture, dpi=75)


if __name__ == "__main__":
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
