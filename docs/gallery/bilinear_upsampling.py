"""Bilinear upsampling

Four pixels become sixteen, by either of the two conventions; a transposed convolution does the same; and the gradient.
"""

# %%
# With `align_corners=True` the centres of the corner pixels coincide, and steps are thirds.
import numpy as np
from matplotlib.figure import Figure

from fastdet.upsample import bilinear_kernel, upsample_bilinear, upsample_bilinear_backward

x = np.array([[1, 2], [3, 4]], np.float32)
print(upsample_bilinear(x, (4, 4), align_corners=True).round(4))

# %%
# Otherwise the images' corners coincide: steps are halves, and the border repeats.
print(upsample_bilinear(x, (4, 4)))

# %%
# The two at eight times the size; dots are the centres of the four pixels.
figure = Figure(figsize=(8, 3.8), layout="constrained")
for ax, aligned in zip(figure.subplots(1, 2), (True, False), strict=True):
    ax.imshow(upsample_bilinear(x, (64, 64), align_corners=aligned), cmap="viridis", extent=(0, 2, 2, 0))
    dots = np.array([0, 2]) if aligned else np.array([0.5, 1.5])
    ax.plot(*(c.ravel() for c in np.meshgrid(dots, dots)), "o", color="white", markeredgecolor="black", clip_on=False)
    ax.set(title=f"align_corners={aligned}", xticks=[], yticks=[])

# %%
# FCN initialises its transposed convolutions with these weights. With stride 2 and padding 1 they equal
# `upsample_bilinear`, except at the border, where a convolution uses zeros.
kernel = bilinear_kernel(1, 2)[0, 0]
print(kernel)
picture = np.random.default_rng(0).random((6, 6)).astype(np.float32)
spread = np.zeros((14, 14), np.float32)
for i in range(6):
    for j in range(6):
        spread[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += picture[i, j] * kernel
same = np.allclose(spread[2:-2, 2:-2], upsample_bilinear(picture, (12, 12))[1:-1, 1:-1])
print("equal inside the border:", same)

# %%
# The gradient is the exact transpose: each pixel gets the sum of the weights with which it was used.
print(upsample_bilinear_backward(np.ones((4, 4), np.float32), (2, 2), align_corners=True).round(4))
