"""Unpooling

Why SegNet keeps the indices of the maxima: values that are put back at their places stay on the edges; values that are
repeated in blocks do not.
"""

# %%
# An image of thin lines, pooled twice by 2, to a quarter of its sides.
import numpy as np
from matplotlib.figure import Figure

from fastdet.pool import max_pool2d, max_unpool2d

y, x = np.mgrid[:192, :192].astype(np.float32)
rings = np.abs(np.sin(np.hypot(x - 60, y - 80) / 9)) > 0.985
lines = np.abs(np.sin((x + 2 * y) / 40)) > 0.998
image = (rings | lines).astype(np.float32)
first, first_places = max_pool2d(image, 2)
second, second_places = max_pool2d(first, 2)
print(image.shape, first.shape, second.shape)

# %%
# An index is a place in the plane: `y * width + x`. One byte is enough for a place in the window.
print(first_places[20, 20:24], first_places.dtype)
_, compact = max_pool2d(image, 2, compact=True)
print(compact[20, 20:24], compact.dtype)

# %%
# Back to the full size by the indices, and by repeating each value.
unpooled = max_unpool2d(max_unpool2d(second, second_places, 2), first_places, 2)
repeated = second.repeat(4, 0).repeat(4, 1)
for name, back in {"unpooled": unpooled, "repeated": repeated}.items():
    on_line = image[back > 0].mean()
    print(f"{name}: {on_line:.0%} of the pixels that are set lie on a line of the image")

# %%
# Unpooling loses some pixels of a line but misplaces none; the convolutions that follow fill the gaps.
shown = {
    "image": image,
    f"pooled to {second.shape[0]} x {second.shape[1]}": second,
    "unpooled": unpooled,
    "repeated": repeated,
}
figure = Figure(figsize=(10, 3), layout="constrained")
for ax, (title, picture) in zip(figure.subplots(1, 4), shown.items(), strict=True):
    ax.imshow(picture, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
