"""Max-pooling with the place of each maximum, and unpooling, which puts values back in their places.

Images are HW, CHW or NCHW: NumPy arrays, torch tensors, CuPy arrays or anything with ``__dlpack__``. Results are of the
same type. Channels-last memory is recognised by its strides and kept, in values and indices. The gradient of each op is
a function of its own, for training without torch.

An index is either flat or compact. Flat: int64, ``y * W + x`` in the plane of the unpooled image, as in torch. Compact:
uint8, ``ky * kernel_width + kx``, the place in the window before it is clipped to the image; it saves most of the
memory traffic of pooling. Functions that take indices tell the two apart by dtype.
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.pool.max_pool import max_pool2d, max_pool2d_backward
from fastdet.pool.max_unpool import max_unpool2d, max_unpool2d_backward

__all__ = ["max_pool2d", "max_pool2d_backward", "max_unpool2d", "max_unpool2d_backward"]

register_with_torch(__name__)
