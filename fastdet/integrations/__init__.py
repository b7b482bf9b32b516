"""fastdet inside other frameworks: their own code runs, fastdet answers its calls.

One function per framework. No framework is imported before its function is called, and none is required.
"""

from fastdet.integrations._mmcv import mmcv
from fastdet.integrations._pycocotools import pycocotools
from fastdet.integrations._replace import Integration, IntegrationError, IntegrationWarning, active

__all__ = [
    "Integration",
    "IntegrationError",
    "IntegrationWarning",
    "active",
    "mmcv",
    "pycocotools",
]
