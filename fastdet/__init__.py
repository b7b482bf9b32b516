"""fastdet: compiled kernels for post-processing and scoring detections and segmentations.

Modules, not functions, are re-exported: ``fastdet.nms.nms(...)``, ``fastdet.boxes.box_iou(...)``.
NumPy is the only dependency; torch, numba and other array libraries are used where they are already imported.
"""

from fastdet import boxes, detection, losses, nms, pool, segmentation, upsample
from fastdet._config import config, get_num_threads, set_num_threads, show_config
from fastdet._version import __version__

__all__ = [
    "__version__",
    "boxes",
    "config",
    "detection",
    "get_num_threads",
    "losses",
    "nms",
    "pool",
    "segmentation",
    "set_num_threads",
    "show_config",
    "upsample",
]
