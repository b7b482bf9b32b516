"""Masks

From a network's output to run lengths: small masks are pasted into their boxes, and no mask of full size is made.
"""

# %%
# What Mask R-CNN's head gives: for each box a mask of 28 x 28 probabilities.
import numpy as np
from matplotlib.figure import Figure

from fastdet import masks

y, x = (np.mgrid[:28, :28] - 13.5) / 14


def blob(lobes, depth):
    """A smooth mask of some lobes."""
    radius = 0.75 + depth * np.cos(lobes * np.arctan2(y, x))
    return 1 / (1 + np.exp((np.hypot(x, y) - radius) * 14))


heads = np.stack([blob(3, 0.15), blob(5, 0.18), blob(2, 0.2), blob(0, 0)]).astype(np.float32)
boxes = np.array([[20, 30, 150, 190], [120, 20, 290, 150], [180, 110, 380, 230], [330.5, 20.5, 390, 80]])
size = (240, 400)

# %%
# Pasted: resampled to the box, and compared with 0.5. As run lengths they take a fraction of the dense masks' bytes.
rle = masks.paste_masks(heads, boxes, size, out="rle")
dense = masks.decode(rle)
print(rle, f"{rle.counts.nbytes} bytes instead of {dense.nbytes}")
print(rle[3].to_coco()[0]["counts"][:40], "...")

# %%
# The boundary, of which boundary IoU is made: what an erosion takes away. It is computed from the runs. Masks that are
# moved by four pixels lose little overlap; their boundaries lose much.
edges = masks.boundary(rle)
print(masks.area(rle), masks.area(edges))
moved = masks.paste_masks(heads, boxes + np.array([4, 0, 4, 0]), size, out="rle")
overlaps = masks.mask_iou(rle, moved).diagonal()
edge_overlaps = masks.mask_iou(edges, masks.boundary(moved)).diagonal()
print(f"IoU of the masks {overlaps.round(2)}, of their boundaries {edge_overlaps.round(2)}")

# %%
figure = Figure(figsize=(12, 5.4), layout="constrained")
axes = figure.subplots(2, 2)
colours = np.array([[0, 0, 0], [0.9, 0.35, 0.1], [0.1, 0.5, 0.8], [0.2, 0.65, 0.3], [0.6, 0.3, 0.7]])


def picture(layers):
    """Masks over a light ground, each in its colour, half of it."""
    image = np.full((*size, 3), 0.93)
    for colour, layer in zip(colours[1:], layers.astype(bool), strict=True):
        image[layer] = 0.4 * image[layer] + 0.6 * colour
    return image


axes[0, 0].imshow(np.hstack(heads), cmap="gray", vmin=0, vmax=1)
axes[0, 0].set_title("the network's output: 28 x 28 each", loc="left")
axes[0, 1].imshow(picture(dense))
for x1, y1, x2, y2 in boxes:
    axes[0, 1].plot((x1, x2, x2, x1, x1), (y1, y1, y2, y2, y1), color="black", linewidth=0.8)
axes[0, 1].set_title("pasted into their boxes", loc="left")
starts = np.cumsum(rle.runs(1))[:-1]
axes[1, 0].imshow(dense[1], cmap="gray_r", vmin=0, vmax=3)
axes[1, 0].scatter(starts // size[0], starts % size[0], s=2, color=colours[2])
axes[1, 0].set_title(f"run lengths: {len(starts)} places where mask 1 turns", loc="left")
axes[1, 1].imshow(picture(masks.decode(edges)))
axes[1, 1].set_title("boundaries", loc="left")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
