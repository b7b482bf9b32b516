"""Confusion matrix and mIoU

A label map, a prediction with typical errors, and its figures under three conventions for void pixels.
"""

# %%
# Sky, ground and discs; the discs' borders are void, as in Pascal VOC.
import numpy as np
from matplotlib.figure import Figure

from fastdet import plots
from fastdet.segmentation import confusion_matrix, iou, mean_iou, pixel_accuracy

names, void = ["sky", "ground", "disc"], 255
y, x = np.mgrid[:240, :320]
truth = (y > 150 + 20 * np.sin(x / 40)).astype(np.uint8)
predicted = (y > 155 + 22 * np.sin(x / 40 - 0.2)).astype(np.uint8)
for cx, cy, r in ((70, 90, 40), (180, 160, 50), (270, 60, 22)):
    distance = np.hypot(x - cx, y - cy)
    truth[distance < r] = 2
    truth[np.abs(distance - r) < 3] = void
    predicted[np.hypot(x - cx - 4, y - cy + 3) < 0.93 * r] = 2
predicted[(y < 20) & (x > 250)] = void  # the network may leave pixels undecided

# %%
# A void prediction of a true class is a miss, is dropped, or the void truth counts as well: three conventions, three
# figures for the same maps. The matrix knows its convention, so the figures need no number of classes.
for convention in ("miss", "drop", "count"):
    matrix = confusion_matrix(truth, predicted, 3, ignore_index=void, void=convention)
    print(
        f"{convention:5}  mIoU {mean_iou(matrix):.4f}  pixel accuracy {pixel_accuracy(matrix):.4f}  "
        f"IoU {iou(matrix).round(3)}"
    )

# %%
# The maps. Void is black.
colours = np.zeros((256, 3), np.uint8)
colours[:3] = [(150, 190, 220), (120, 150, 90), (209, 73, 91)]
figure = Figure(figsize=(9, 3.6), layout="constrained")
for ax, (title, labels) in zip(figure.subplots(1, 2), {"truth": truth, "prediction": predicted}.items(), strict=True):
    ax.imshow(colours[labels])
    ax.set(title=title, xticks=[], yticks=[])

# %%
# Rows are the truth: ground is predicted as sky more often than sky as ground.
matrix = confusion_matrix(truth, predicted, 3, ignore_index=void)
picture, _ = plots.draw_confusion(matrix, names=names)
