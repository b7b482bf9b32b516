"""fastdet inside other frameworks: their own code runs, fastdet answers its calls.

One function per framework. No framework is imported before its function is called, and none is required.
``python -m fastdet.integrations`` runs code that one cannot edit.
"""

from fastdet.integrations._known import frameworks
from fastdet.integrations._mmcv import mmcv
from fastdet.integrations._pycocotools import pycocotools
from fastdet.integrations._replace import Integration, IntegrationError, IntegrationWarning, active
from fastdet.integrations._sahi import sahi
from fastdet.integrations._supervision import supervision
from fastdet.integrations._torchvision import torchvision
from fastdet.integrations._ultralytics import ultralytics

__all__ = [
    "Integration",
    "IntegrationError",
    "IntegrationWarning",
    "active",
    "frameworks",
    "mmcv",
    "pycocotools",
    "sahi",
    "supervision",
    "torchvision",
    "ultralytics",
]
