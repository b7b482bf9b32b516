"""Merge overlapping boxes instead of suppressing them: averages of boxes, and unions.

Weighted boxes fusion and OverFeat's greedy merge average, in float64. Non-maximum merging, greedy or transitive, unites
the boxes that NMS would remove with those that it keeps, in the boxes' dtype as NMS. All give equal results on every
backend. No function here has a gradient.
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.fusion.merge import Merged, merge_boxes
from fastdet.fusion.non_maximum import MergedGroups, greedy_nmm, nmm
from fastdet.fusion.weighted import weighted_boxes_fusion

__all__ = ["Merged", "MergedGroups", "greedy_nmm", "merge_boxes", "nmm", "weighted_boxes_fusion"]

register_with_torch(__name__)
