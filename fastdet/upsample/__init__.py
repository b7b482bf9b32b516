"""Bilinear resampling: forward, its exact transpose (the gradient), and the weights of a transposed convolution.

Along one axis an output is ``w0 * x[i0] + w1 * x[i1]``, with torch's source indices. A pixel is
``h0 * (w0 * a + w1 * b) + h1 * (w0 * c + w1 * d)``, in this order on every backend, so results are equal bit for bit.
float64 is computed in float64, all other dtypes in float32; float16, bfloat16, int8 and uint8 are rounded once, at the
end.

Every function takes NumPy arrays, torch tensors, CuPy arrays, anything with ``__dlpack__`` or nested lists, and returns
the same type, dtype and memory order: planes, or channels last if the input is (by its shape with ``channels_last``, or
by the strides of torch's channels_last and NumPy's moveaxis).
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.upsample.bilinear import bilinear_kernel, upsample_bilinear, upsample_bilinear_backward

__all__ = ["bilinear_kernel", "upsample_bilinear", "upsample_bilinear_backward"]

register_with_torch(__name__)
