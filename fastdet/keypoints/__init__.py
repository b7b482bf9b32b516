"""Keypoints: the similarity of poses, by which they are scored."""

from fastdet.keypoints.similarity import COCO_SIGMAS, CROWDPOSE_SIGMAS, oks

__all__ = ["COCO_SIGMAS", "CROWDPOSE_SIGMAS", "oks"]
