"""Average overlapping boxes instead of suppressing them: weighted boxes fusion, and OverFeat's greedy merge.

Both compute in float64 and give equal results on every backend. No function here has a gradient.
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.fusion.merge import Merged, merge_boxes
from fastdet.fusion.weighted import weighted_boxes_fusion

__all__ = ["Merged", "merge_boxes", "weighted_boxes_fusion"]

register_with_torch(__name__)
