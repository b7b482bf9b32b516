"""A U-Net, trained, scored and tiled

Draw tissue, train a small U-Net on it, and segment a scan that is larger than the training images, tile by tile. It
takes half a minute on one core; nothing is downloaded.
"""

# %%
# Cells are the Voronoi regions of random points, membranes the pixels between two of them. Cells hold dark organelles,
# so dark pixels are not always membranes.
import numpy as np
import torch
from matplotlib.figure import Figure

from fastdet.inference import overlap_tile
from fastdet.losses import cross_entropy, median_frequency_weights
from fastdet.models import MODELS
from fastdet.segmentation import SegmentationMetrics

rng = np.random.default_rng(0)


def tissue(height, width):
    """An image (1, height, width) float32 and its labels (height, width): 0 membrane, 1 cell."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = 6 * np.sin(x / 23 + rng.uniform(0, 6)) + 6 * np.sin(y / 31 + rng.uniform(0, 6))
    first = np.full((height, width), np.inf, np.float32)
    second = first.copy()
    for _ in range(height * width // 1500):
        distance = np.hypot(x + wave - rng.uniform(0, width), y - wave - rng.uniform(0, height))
        first, second = np.minimum(first, distance), np.minimum(second, np.maximum(first, distance))
    labels = (second - first > 4).astype(np.uint8)
    image = 0.8 * labels
    for _ in range(height * width // 2500):
        distance = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height))
        image = np.where(distance < rng.uniform(3, 7), 0.2, image)
    return (image + rng.normal(0, 0.4, image.shape)).astype(np.float32)[None], labels


sections = [tissue(256, 256) for _ in range(12)]
image, labels = sections[0]
print(image.shape, labels.shape, f"{labels.mean():.0%} are cell")

# %%
# A U-Net of two levels and an eighth of the channels. Its convolutions are valid, so the output is smaller than the
# input by a margin on each side. The loss weighs the two classes by how rare they are.
torch.manual_seed(0)
network = MODELS["unet"](classes=2, width=0.125, depth=2, norm=True)
margin, crop = network.margin, network.fitting(92)
counts = np.stack([np.bincount(labels.ravel(), minlength=2) for _, labels in sections])
weight = torch.from_numpy(median_frequency_weights(counts)).float()
optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
print(f"{sum(p.numel() for p in network.parameters()):,} parameters, {crop} pixels in, {crop - 2 * margin} out")

network.train()
for step in range(120):
    images, targets = [], []
    for i in rng.integers(0, len(sections), 4):
        image, labels = sections[i]
        y, x = rng.integers(0, 256 - crop + 1, 2)
        images.append(image[:, y : y + crop, x : x + crop])
        targets.append(labels[y + margin : y + crop - margin, x + margin : x + crop - margin])
    logits = network(torch.from_numpy(np.stack(images)))
    loss = cross_entropy(logits, torch.from_numpy(np.stack(targets)), weight)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if step % 30 == 29:
        print(f"step {step + 1}: loss {loss.item():.3f}")
network.eval()

# %%
# A new scan, of any size. A tile is computed with a margin around it, mirrored at the scan's border, and its result is
# exactly that of the whole scan.
scan, truth = tissue(500, 700)
print(network.tiling(140))
with torch.no_grad():
    logits = overlap_tile(network, scan, **network.tiling(140))
    whole = overlap_tile(network, scan, **network.tiling(700))  # one tile
print(logits.shape, f"maximum difference from a single tile: {np.abs(logits - whole).max():.0e}")

# %%
# Score it with the scan's truth, beside a constant prediction and a threshold on the grey value.
predicted = logits.argmax(0)
for name, answer in {
    "U-Net": predicted,
    "cell everywhere": np.ones_like(truth),
    "grey value above 0.4": (scan[0] > 0.4).astype(np.uint8),
}.items():
    metrics = SegmentationMetrics(2)
    metrics.update(answer, truth)
    figures = metrics.compute()
    print(f"{name}: mIoU {figures['mean_iou']:.3f}, pixel accuracy {figures['pixel_accuracy']:.3f}")

# %%
shown = {"scan": scan[0], "truth": truth, "U-Net, tile by tile": predicted}
figure = Figure(figsize=(11, 3), layout="constrained")
for ax, (title, picture) in zip(figure.subplots(1, 3), shown.items(), strict=True):
    ax.imshow(picture, cmap="gray", interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
