"""Bilinear resampling in aten's ops, for ONNX: both of torch's exporters write it as a Resize.

int8 and uint8 are resized as float32 and rounded halves up, as here: ONNX Runtime's own Resize of them cuts off.
"""

from __future__ import annotations

from typing import Any

from torch.nn import functional as F

TO_PLANES, FROM_PLANES = {3: (2, 0, 1), 4: (0, 3, 1, 2)}, {3: (1, 2, 0), 4: (0, 2, 3, 1)}


def upsample_bilinear(
    x: Any, size: Any, scale_factor: Any, align_corners: bool, channels_last: bool, backend: Any = None
) -> Any:
    image = x.permute(TO_PLANES[x.ndim]) if channels_last else x
    lead = 4 - image.ndim
    size, factor = (None if y is None else list(y) for y in (size, scale_factor))
    exact = x.dtype.is_floating_point
    image = image if exact else image.float()
    whole = F.interpolate(image[(None,) * lead], size, factor, mode="bilinear", align_corners=align_corners)
    whole = whole if exact else (whole + 0.5).floor().to(x.dtype)
    image = whole[(0,) * lead]
    return image.permute(FROM_PLANES[x.ndim]) if channels_last else image
