"""Decoding a YOLO

From the raw grid of a YOLO (v1) to boxes: each cell has two boxes with their confidence, and one class distribution.
"""

# %%
# A possible output for the sample's scene with the most objects, a 7 x 7 grid of 5 x 2 + 4 numbers: the cell that holds
# an object's centre has two boxes near it, and its neighbours have boxes with lower confidence.
import numpy as np
from matplotlib.figure import Figure

from fastdet import plots
from fastdet.cli import sample as _sample
from fastdet.cli import scenes
from fastdet.inference import yolo_decode
from fastdet.nms import multiclass_nms

sample = _sample.load()
scene, seed = max(zip(sample.scenes, sample.seeds, strict=True), key=lambda x: len(x[0].labels))
height, width = scenes.SIZE
S, B, C = 7, 2, 4
rng = np.random.default_rng(1)
centres = set()
output = np.zeros((S, S, 5 * B + C), np.float32)
output[..., 5 * B :] = 1 / C
for (x1, y1, x2, y2), label in zip(scene.boxes.astype(float), scene.labels, strict=True):
    cx, cy, w, h = (x1 + x2) / 2 / width * S, (y1 + y2) / 2 / height * S, (x2 - x1) / width, (y2 - y1) / height
    for di, dj, sure in ((0, 0, 0.9), (0, 1, 0.5), (1, 0, 0.45), (0, -1, 0.4)):
        i, j = min(int(cy) + di, S - 1), int(np.clip(int(cx) + dj, 0, S - 1))
        cell = output[i, j]
        if sure > cell[4]:
            for b, certainty in enumerate((sure, 0.7 * sure)):
                side = np.array([w, h]) * np.exp(rng.normal(0, 0.06, 2))
                cell[5 * b : 5 * b + 5] = cx - j, cy - i, *side, certainty
            cell[5 * B :] = 0.04
            cell[5 * B + label] = 0.88
    centres.add((int(cy), int(cx)))
cells = len(centres)
print(output.shape, f"{len(scene.labels)} objects with their centres in {cells} cells")

# %%
# Decoding gives boxes in pixels, and scores: confidence times class probability.
decoded = yolo_decode(output, predictors=B, size=(height, width))
print(decoded.boxes.shape, decoded.scores.shape)

# %%
# Class-wise NMS leaves a box for most objects. Two objects with their centres in one cell share its classes and boxes:
# the limit of this network. Two objects of a class with an IoU above 0.5 become one: the limit of NMS.
detections = multiclass_nms(decoded.boxes[None], decoded.scores[None], 0.5, score_threshold=0.25)
count = int(detections.count[0])
print(count, "detections of", len(scene.labels), "objects")

# %%
figure = Figure(figsize=(12, 4.2), layout="constrained")
best, labels = decoded.scores.max(1), decoded.scores.argmax(1)
sure = best > 0.25
panels = {
    f"decoded: {sure.sum()} boxes": (decoded.boxes[sure], labels[sure], best[sure]),
    f"after NMS: {count}": (detections.boxes[0, :count], detections.labels[0, :count], detections.scores[0, :count]),
}
for ax, (title, (boxes, labels, scores)) in zip(figure.subplots(1, 2), panels.items(), strict=True):
    ax.imshow(scenes.draw(scene, seed, scale=4), extent=(0, width, height, 0))
    ax.set_xticks(np.arange(S + 1) * width / S, [])
    ax.set_yticks(np.arange(S + 1) * height / S, [])
    ax.grid(color="white", linewidth=0.6, alpha=0.7)
    plots.draw_boxes(boxes, labels, scores, ax=ax)
    ax.set_title(title, loc="left")
