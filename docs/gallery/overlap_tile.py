"""Overlap-tile

The output of a network of valid convolutions is smaller than its input. U-Net segments large images tile by tile, each
with a margin around it, mirrored at the image's border.
"""

# %%
# An image of blobs, and in place of a network ten valid 3 x 3 means and a threshold. It loses 10 pixels on each side.
import numpy as np
from matplotlib.figure import Figure

from fastdet.inference import overlap_tile

rng = np.random.default_rng(2)
y, x = np.mgrid[:300, :420].astype(np.float32)
image = rng.normal(0, 0.6, (300, 420)).astype(np.float32)
for cx, cy, r in zip(rng.uniform(0, 420, 40), rng.uniform(0, 300, 40), rng.uniform(6, 22, 40), strict=True):
    image += np.hypot(x - cx, y - cy) < r
image = image[None]  # channels first


def network(batch):
    for _ in range(10):
        rows = (batch[..., :-2, :] + batch[..., 1:-1, :] + batch[..., 2:, :]) / 3
        batch = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 3
    return batch


# %%
# Tiles of 100 pixels with a margin of 10 give the whole image's result. Without it, tiles do not know their
# surroundings, and seams show.
whole = network(np.pad(image, ((0, 0), (10, 10), (10, 10)), mode="reflect")[None])[0]
tiled = overlap_tile(network, image, tile=100, margin=10)
print("maximum difference with margins:   ", np.abs(tiled - whole).max())

by_itself = np.zeros_like(whole)
for i in range(0, 300, 100):
    for j in range(0, 420, 100):
        alone = np.pad(image[:, i : i + 100, j : j + 100], ((0, 0), (10, 10), (10, 10)), mode="reflect")
        by_itself[:, i : i + 100, j : j + 100] = network(alone[None])[0]
seams = np.abs(by_itself - whole)
print("maximum difference without margins:", seams.max().round(3))

# %%
figure = Figure(figsize=(11, 2.9), layout="constrained")
shown = {
    "image": image,
    "tiles with margins": tiled > 0.5,
    "tiles by themselves": by_itself > 0.5,
    "their error": seams,
}
for ax, (title, picture) in zip(figure.subplots(1, 4), shown.items(), strict=True):
    ax.imshow(picture[0], cmap="magma" if title == "their error" else "gray", interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
